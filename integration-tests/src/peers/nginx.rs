//! nginx as a mail proxy that asks our router where to go.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::Result;
use laniakea_test_ports::free_address;
use tempfile::TempDir;

use super::{Server, is_root, said};
use crate::tool;

const MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";

/// A mail proxy.
pub struct Nginx {
    /// IMAP.
    pub imap: SocketAddr,
    /// POP3.
    pub pop3: SocketAddr,
    /// SMTP.
    pub smtp: SocketAddr,
    folder: TempDir,
    _server: Server,
}

impl Nginx {
    /// Starts one that asks `auth_http`, and begins IMAP and POP3 with a PROXY header; `None` if it is not installed.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(auth_http: &str) -> Result<Option<Self>> {
        let found = tool::find("nginx", "nginx libnginx-mod-mail")?;
        let Some(nginx) = found.filter(|_| Path::new(MODULE).exists()) else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("laniakea-nginx-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let [imap, pop3, smtp] = [free_address(), free_address(), free_address()];
        let path = folder.path().display();
        let user = if is_root() { "user nobody nogroup;\n" } else { "" };
        let config = format!(
            "load_module {MODULE};\n{user}daemon off;\npid {path}/pid;\nerror_log {path}/log info;\n\
             events {{ worker_connections 256; }}\n\
             mail {{\n\
               server_name mail.example.org;\n\
               auth_http {auth_http};\n\
               proxy_pass_error_message on;\n\
               server {{ listen {imap}; protocol imap; imap_auth plain login; proxy_protocol on; }}\n\
               server {{ listen {pop3}; protocol pop3; pop3_auth plain; proxy_protocol on; }}\n\
               server {{ listen {smtp}; protocol smtp; smtp_auth none; xclient on; }}\n\
             }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg(folder.path().join("log"));
        let server = Server::start(&mut command, folder.path(), &[imap, pop3, smtp])?;
        Ok(Some(Self { imap, pop3, smtp, folder, _server: server }))
    }

    /// Everything it wrote, for messages.
    #[must_use]
    pub fn said(&self) -> String {
        said(self.folder.path())
    }
}
