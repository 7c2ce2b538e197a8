//! Cables: laid, unplugged, cut in one direction, made slow.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::{Host, host::Cable, namespace::Handle};

impl Cable {
    /// Lays a cable from the switch to a host that has none. Its network card is the same as before, so that others that
    /// remember it find it again.
    pub fn lay(&self, host: Handle) -> Result<()> {
        let init = host.init().to_string();
        let [.., number] = self.address.octets();
        let card = format!("02:00:00:00:00:{number:02x}");
        let port = self.port.as_str();
        // The end of a host that lost power may still be there for a moment.
        let _ = self.switch.run("ip", &["link", "delete", port]);
        // The switch sees other process ids: the cable is made here, between the two.
        let switch = self.switch.init().to_string();
        super::namespace::here(
            "ip",
            &[
                "link", "add", port, "netns", &switch, "type", "veth", "peer", "name", "eth0", "address", &card,
                "netns", &init,
            ],
        )
        .context("lay a cable")?;
        self.switch.run("ip", &["link", "set", port, "master", "br0", "up"])?;
        host.run("ip", &["address", "add", &format!("{}/24", self.address), "dev", "eth0"])?;
        host.run("ip", &["link", "set", "eth0", "up"])?;
        Ok(())
    }
}

impl Host {
    /// Pulls the cable.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn unplug(&self) -> Result<()> {
        self.cable.switch.run("ip", &["link", "set", &self.cable.port, "down"]).map(drop)
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn plug(&self) -> Result<()> {
        self.cable.switch.run("ip", &["link", "set", &self.cable.port, "up"]).map(drop)
    }

    /// From now on this host hears nothing of what `other` sends; in the other direction all is well.
    ///
    /// # Errors
    /// If one of them is powered off.
    pub fn deafen_to(&self, other: &Host) -> Result<()> {
        self.drop_from(other.cable.address)
    }

    /// From now on these two do not hear each other; all other links are well.
    ///
    /// # Errors
    /// If one of them is powered off.
    pub fn part_from(&self, other: &Host) -> Result<()> {
        self.deafen_to(other)?;
        other.deafen_to(self)
    }

    /// Hears everybody again.
    ///
    /// # Errors
    /// If it is powered off.
    pub fn hear_all(&self) -> Result<()> {
        self.handle()?.feed("nft", &["-f", "-"], "add table inet cuts\ndelete table inet cuts\n")
    }

    /// Lets no more than this many kilobits a second out of this host, and into it.
    ///
    /// # Errors
    /// If it is powered off.
    pub fn slow_down(&self, kilobits: u32) -> Result<()> {
        let rate = format!("{kilobits}kbit");
        let shape = |device: &str, handle: Handle| {
            let qdisc = ["qdisc", "replace", "dev", device, "root", "tbf", "rate", &rate];
            handle.run("tc", &[&qdisc[..], &["burst", "4kb", "latency", "2s"]].concat()).map(drop)
        };
        shape("eth0", self.handle()?)?;
        shape(&self.cable.port, self.cable.switch)
    }

    /// As fast as it can be again.
    ///
    /// # Errors
    /// If it is powered off.
    pub fn speed_up(&self) -> Result<()> {
        self.handle()?.run("tc", &["qdisc", "delete", "dev", "eth0", "root"])?;
        self.cable.switch.run("tc", &["qdisc", "delete", "dev", &self.cable.port, "root"]).map(drop)
    }

    fn drop_from(&self, address: Ipv4Addr) -> Result<()> {
        let rules = format!(
            "add table inet cuts\n\
             add chain inet cuts heard {{ type filter hook input priority 0; }}\n\
             add rule inet cuts heard ip saddr {address} drop\n"
        );
        self.handle()?.feed("nft", &["-f", "-"], &rules)
    }
}
