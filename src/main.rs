//! The one program `laniakea`: every role and every command, one file each.
//!
//! Nothing is decided here: arguments become a call into the crate that knows. Exit codes are those of `sysexits.h`
//! that apply: 0, 64 (usage), 75 (temporary: try again), 78 (configuration).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod account;
mod admin;
mod backend;
mod cluster;
mod config;
mod directory;
mod drill;
mod exit;
mod explain;
mod initialise;
mod installation;
mod probe;
mod role;
mod router;
mod store;
mod table;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An e-mail supercluster: routers in front, clusters behind, one owner for each account.
#[derive(Parser)]
#[command(name = "laniakea", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  laniakea up                          everything on this machine, from nothing
  laniakea explain user1@example.org   where an account lives and who owns it

Commands find the installation by --config FILE, else $LANIAKEA_CONFIG, else ./laniakea-data/laniakea.yaml.
Exit codes: 0 done, 1 a promise was broken (drill), 64 wrong usage, 75 temporary failure (try again), 78 wrong configuration.";

#[derive(Subcommand)]
enum Command {
    /// Run a complete supercluster on this machine.
    Up(up::Up),
    /// Run one router.
    Router(router::Router),
    /// Run one member of a cluster.
    Backend(backend::Backend),
    /// Run the embedded LDAP directory.
    Directory(directory::Directory),
    /// Add, show, list, change and delete accounts.
    #[command(subcommand)]
    Account(account::Account),
    /// See the clusters.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Follow an address from its entry to the process that owns it now.
    Explain(explain::Explain),
    /// Kill, freeze and cut off members of a throw-away cluster, and measure what clients notice.
    Drill(drill::Drill),
    /// Check, show and describe the configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// Check and show what is on a storage.
    #[command(subcommand)]
    Store(store::Store),
}

fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) => return exit::usage(&error),
    };
    let done = match program.command {
        Command::Up(command) => command.run(),
        Command::Router(command) => command.run(),
        Command::Backend(command) => command.run(),
        Command::Directory(command) => command.run(),
        Command::Account(command) => command.run(),
        Command::Cluster(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Drill(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Store(command) => command.run(),
    };
    exit::code(done)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Program::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let mut subcommands = command.get_subcommands().peekable();
            if subcommands.peek().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("laniakea "), "{path} has no example");
            }
            for subcommand in subcommands {
                walk(subcommand, &format!("{path} {}", subcommand.get_name()));
            }
        }
        walk(&Program::command(), "laniakea");
    }
}
