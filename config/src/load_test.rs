//! Whole files in, settings or faults out.

use std::{fs, path::Path};

use super::*;

const EXAMPLE: &str = include_str!("../example.yaml");

fn faults(text: &str) -> String {
    let list = Config::read(text, Path::new("/etc/laniakea")).unwrap_err();
    Faults::new("laniakea.yaml".into(), text.into(), list).to_string()
}

fn read(text: &str) -> Config {
    match Config::read(text, Path::new("/etc/laniakea")) {
        Ok(config) => config,
        Err(list) => panic!("{}", Faults::new("laniakea.yaml".into(), text.into(), list)),
    }
}

#[test]
fn the_example_is_accepted_and_understood() {
    let config = read(EXAMPLE);
    assert_eq!(config.routers.len(), 3);
    assert_eq!(config.routers[2].listen.len(), 11);
    assert_eq!(config.clusters[0].members[1].name, "blue-b");
    assert_eq!(config.tls.key, Path::new("/etc/laniakea/tls/mail.example.org.key"));
    assert_eq!(config.tls.others[0].key, Path::new("/etc/laniakea/tls/mail.example.net.key"));
    assert_eq!(config.member("green-a").unwrap().0.storage, Path::new("/srv/mail/green"));
    assert_eq!(config.directory.profile, crate::Profile::inet_local_mail_recipient());
    assert_eq!(config.clusters[1].timing, crate::ClusterTiming::default());
    let green = &config.clusters[1].members[0];
    assert_eq!((green.advertise.control, green.advertise.handoff.port()), (green.control, 30_002));
}

#[test]
fn what_is_rendered_is_read_back_as_the_same_settings() {
    let mut config = read(EXAMPLE);
    config.directory.profile.quota = "mailQuota".into();
    config.clusters[0].timing.dead = std::time::Duration::from_secs(3);
    config.limits.message_bytes_max = 1 << 20;
    config.clusters[0].storage = "/srv/a folder, with: everything #1".into();
    let text = config.render(Path::new("/etc/laniakea"));
    assert!(text.contains("key_file: secrets/blue.key"), "{text}");
    assert_eq!(read(&text), config);
}

#[test]
fn tokens_are_offered_only_with_what_they_are_judged_by() {
    let with = |sasl: &str| EXAMPLE.replace("  mechanisms: [scram-sha-256]\n", sasl);
    let text = with("  mechanisms: [oauthbearer]\n");
    assert!(faults(&text).contains("`tokens` does not say which ones count"), "{}", faults(&text));
    let tokens = "  tokens: {keys_file: keys.json, issuer: \"https://id\", audience: mail}\n";
    let config = read(&with(&format!("  mechanisms: [oauthbearer, xoauth2]\n{tokens}")));
    assert_eq!(config.sasl.tokens.as_ref().unwrap().claim, "email");
    assert_eq!(config.directory.new_passwords, crate::PasswordScheme::Argon2);
    assert_eq!(read(&config.render(Path::new("/etc/laniakea"))), config);
    assert_eq!(read(EXAMPLE).directory.new_passwords, crate::PasswordScheme::Scram);
}

#[test]
fn all_faults_are_reported_at_once_each_with_its_line() {
    let text = "\
domain: example.org
directory:
  urls: [ldaps://h:636, 'http://h']
  base: dc=example,dc=org
  bind_dn: cn=admin
  start_tls: yes
  fresh: 60
tls: {certificate_file: c.pem}
admin: {token_file: t}
routers:
  - name: Router_1
    lisen: {imap: 127.0.0.1:143}
    listen: {imap: 143, imapz: 127.0.0.1:144}
clusters:
  - name: blue
    storage: /srv/blue
    key_file: k
    message_max: 1 MiB
    members: []
  - name: blue
    storage: /srv/blue/
    key_file: k
    timing: {dead: 1s, suspect: 2s}
    members:
      - {name: m, control: '127.0.0.1:1', handoff: '127.0.0.1:1'}
      - {name: m, control: '127.0.0.1:2', handoff: '127.0.0.1:3', listen: {imap: '127.0.0.1:2'}, advertise: {handoff: '127.0.0.1:1'}}
";
    let told = faults(text);
    for expected in [
        "laniakea.yaml:3:",
        "ldap://host:port",
        "laniakea.yaml:5:12: `bind_dn` without `bind_password_file`",
        "laniakea.yaml:6:14: `start_tls` is the text `yes`",
        "try: true",
        "laniakea.yaml:7:10: `fresh` is the number 60",
        "60s, if seconds were meant",
        "`key_file` is missing in tls",
        "laniakea.yaml:11:11: `name` is the text `Router_1`",
        "try: router-1",
        "laniakea.yaml:12:5: unknown key `lisen`",
        "try: `listen`",
        "`imap` is the number 143",
        "try: 127.0.0.1:143",
        "unknown key `imapz`",
        "unknown key `message_max` in clusters[0]",
        "`message_max` belongs in `limits`",
        "laniakea.yaml:19:14: this cluster has no members",
        "the cluster name `blue` is already used on line 15",
        "another cluster stores its mail there already, on line 16",
        "`suspect` must be shorter than `dead`, or a member is given up before anybody doubts it",
        "lower `suspect`, now 2s, or raise `dead`, now 1s",
        "the member name `m` is already used on line 25",
        "127.0.0.1:1 is taken: line 25 gives 127.0.0.1:1 to control of m",
        "127.0.0.1:2 is taken: line 26",
        "laniakea.yaml:26:119: 127.0.0.1:1 is taken",
    ] {
        assert!(told.contains(expected), "missing: {expected}\n{told}");
    }
}

#[test]
fn ldaps_is_not_upgraded_a_second_time() {
    let told = faults(&EXAMPLE.replace("  base:", "  start_tls: true\n  base:"));
    assert!(told.contains("`ldaps://` together with `start_tls: true`"), "{told}");
}

#[test]
fn a_key_given_twice_is_a_fault_of_the_second() {
    let told = faults(&format!("{EXAMPLE}\ndomain: example.net\n"));
    assert!(told.contains("`domain` is given twice; first on line 10"), "{told}");
}

#[test]
fn clients_are_never_logged_out_sooner_than_the_standard_allows() {
    let told = faults(&EXAMPLE.replace("idle: 31min", "idle: 5min"));
    assert!(told.contains("RFC 9051, section 5.4"), "{told}");
}

#[test]
fn an_empty_file_says_what_to_do() {
    assert!(faults("# nothing\n").contains("`laniakea up` writes a complete one"));
    assert!(faults("domain:example.org\n").contains("expected: a table with domain"));
}

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let told = Config::load(Path::new("/nonexistent/laniakea.yaml")).unwrap_err().to_string();
    assert!(told.contains("/nonexistent/laniakea.yaml: the configuration cannot be read"), "{told}");
    assert!(told.contains("LANIAKEA_CONFIG"), "{told}");
}

#[test]
fn files_that_a_role_needs_must_be_there_and_others_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("laniakea.yaml");
    fs::write(&path, EXAMPLE).unwrap();
    for name in ["tls", "secrets"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in [
        "tls/mail.example.org.pem",
        "tls/mail.example.org.key",
        "tls/mail.example.net.pem",
        "tls/mail.example.net.key",
        "tls/ldap-ca.pem",
        "tls/handoff.pem",
        "tls/handoff.key",
        "tls/handoff-ca.pem",
        "secrets/directory-password",
        "secrets/admin-token",
    ] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    fs::write(folder.path().join("secrets/blue.key"), [0; 31]).unwrap();
    assert!(Config::load_for(&path, Role::Router).is_ok());
    assert!(Config::load_for(&path, Role::Command).is_ok());
    let told = Config::load_for(&path, Role::Member("blue-a")).unwrap_err().to_string();
    assert!(told.contains("blue.key has 31 bytes") && !told.contains("green.key"), "{told}");
    let told = Config::load(&path).unwrap_err().to_string();
    assert!(told.contains("blue.key has 31 bytes") && told.contains("green.key cannot be read"), "{told}");
    assert!(told.contains("head -c 32 /dev/urandom"), "{told}");
}

#[test]
fn every_impossible_order_of_timeouts_is_told_with_what_to_change() {
    let timing = |text: &str| {
        let cluster = "{name: m, control: '127.0.0.1:1', handoff: '127.0.0.1:2'}";
        format!(
            "domain: d.example\ndirectory: {{urls: ['ldap://h:389'], base: 'dc=d'}}\n\
             tls: {{certificate_file: c.pem, key_file: k.pem}}\nadmin: {{token_file: t}}\n\
             clusters:\n  - {{name: c, storage: /s, key_file: k, timing: {{{text}}}, members: [{cluster}]}}\n"
        )
    };
    assert!(crate::Config::read(&timing("dead: 3s, suspect: 2s"), std::path::Path::new("/")).is_ok());
    for (text, told) in [
        ("ping: 1s", "lower `ping`, now 1s, or raise `suspect`, now 1s"),
        ("suspect: 2s", "lower `suspect`, now 2s, or raise `dead`, now 2s"),
        ("read_lease: 2s", "lower `read_lease`, now 2s, or raise `dead`, now 2s"),
        ("read_lease: 100ms", "lower `ping`, now 200ms, or raise `read_lease`, now 100ms"),
        ("tick_busy: 1s", "lower `tick_busy`, now 1s, or raise `tick_idle`, now 500ms"),
        ("tick_idle: 1s", "lower `tick_idle`, now 1s, or raise `storage_fine`, now 1s"),
        ("tick_idle: 2s", "lower `tick_idle`, now 2s, or raise `dead`, now 2s"),
        ("storage_fine: 5s", "lower `storage_fine`, now 5s, or raise `storage_lost`, now 5s"),
        ("probe: 1s", "lower `probe`, now 1s, or raise `suspect`, now 1s"),
        ("stagger: 2s", "lower `stagger`, now 2s, or raise `dead`, now 2s"),
        ("claim: 2s", "lower `dead`, now 2s, or raise `claim`, now 2s"),
        ("release: 11s", "lower `release`, now 11s, or raise `stop`, now 10s"),
    ] {
        let faults = crate::Config::read(&timing(text), std::path::Path::new("/")).expect_err(text);
        let said: String = faults.iter().map(|fault| format!("{fault:?}")).collect();
        assert!(said.contains(told), "{text}: {said}");
    }
}
