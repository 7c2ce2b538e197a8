//! From the plan to the configuration that describes it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use laniakea_config::{
    Advertised, ClusterSettings, ClusterTiming, Config, DirectorySettings, EmbeddedDirectory, Limits, MemberSettings,
    Openings, ProbePolicy, Profile, RouterSettings, Service, TlsSettings,
};

use super::{
    home::Home,
    plan::Plan,
    ports::{Place, Ports},
};
use crate::exit::Failure;

/// What a router of `up` serves.
const ROUTER_SERVICES: [Service; 11] = [
    Service::Imap,
    Service::Imaps,
    Service::Pop3,
    Service::Pop3s,
    Service::Smtp,
    Service::Submission,
    Service::Submissions,
    Service::Lmtp,
    Service::Http,
    Service::Https,
    Service::Metrics,
];

/// What a member of `up` serves to clients directly.
const MEMBER_SERVICES: [Service; 5] = [Service::Imap, Service::Pop3, Service::Lmtp, Service::Http, Service::Metrics];

/// The installation that `plan` asks for, in `home`.
pub fn generate(home: &Home, plan: &Plan, ports: &mut Ports) -> Result<Config, Failure> {
    let tls = TlsSettings {
        certificate: home.tls("server.pem"),
        key: home.tls("server.key"),
        ca: Some(home.ca()),
        others: Vec::new(),
    };
    Ok(Config {
        domain: plan.domain.clone(),
        directory: directory(home, plan, ports, &tls)?,
        tls,
        admin_token: home.secret("admin-token"),
        routers: (1..=plan.routers).map(|number| router(home, number, ports)).collect::<Result<_, _>>()?,
        clusters: (1..=plan.clusters).map(|number| cluster(home, plan, number, ports)).collect::<Result<_, _>>()?,
        foreign: Vec::new(),
        smarthost: None,
        sasl: Default::default(),
        limits: Limits {
            message_bytes_max: 50 << 20,
            recipients_max: 1_000,
            connections_per_address_max: 100_000, // every client of `up` has the same address
            connections_max: 0,                   // decided by each process when it reads the file
            login: Duration::from_secs(60),
            idle: Duration::from_secs(31 * 60),
            memory_bytes_max: 1 << 30,
        },
    })
}

/// `dc=example,dc=org` for example.org (RFC 2247).
pub fn base_of(domain: &str) -> String {
    domain.split('.').map(|label| format!("dc={label}")).collect::<Vec<_>>().join(",")
}

fn directory(home: &Home, plan: &Plan, ports: &mut Ports, tls: &TlsSettings) -> Result<DirectorySettings, Failure> {
    let (urls, base, bind_dn, bind_password, embedded) = match &plan.ldap {
        Some(ldap) => {
            (ldap.urls.clone(), ldap.base.clone(), ldap.bind_dn.clone(), ldap.bind_password_file.clone(), None)
        }
        None => {
            let base = base_of(&plan.domain);
            let admin_dn = format!("cn=admin,{base}");
            let admin_password = home.secret("directory-password");
            let listen = ports.address(Place::Ldap)?;
            let embedded = EmbeddedDirectory {
                new_passwords: Default::default(),
                listen,
                listen_tls: Some(ports.address(Place::Ldaps)?),
                data: home.directory_data(),
                base: base.clone(),
                admin_dn: admin_dn.clone(),
                admin_password: admin_password.clone(),
                tls: tls.clone(),
                metrics: Some(ports.address(Place::DirectoryMetrics)?),
            };
            (vec![format!("ldap://{listen}")], base, admin_dn, admin_password, Some(embedded))
        }
    };
    Ok(DirectorySettings {
        urls,
        base,
        bind_dn,
        bind_password: Some(bind_password),
        start_tls: false,
        ca: None,
        profile: Profile::inet_local_mail_recipient(),
        // Who tries things out wants to see a change of the directory at once, and it is near.
        fresh: Duration::from_secs(5),
        unknown: Duration::from_secs(1),
        entries_max: 1_000_000,
        timeout: Duration::from_secs(3),
        connections: 2,
        new_passwords: Default::default(),
        embedded,
    })
}

fn router(home: &Home, number: u16, ports: &mut Ports) -> Result<RouterSettings, Failure> {
    let name = format!("router-{number}");
    let listen = listeners(&ROUTER_SERVICES, |service| ports.address(Place::Router(number, service)))?;
    let replace_socket = Some(home.socket(&name));
    Ok(RouterSettings {
        cache_file: Some(home.cache(&name)),
        name,
        listen,
        proxy_from: Vec::new(),
        drain: RouterSettings::DRAIN_DEFAULT,
        trust_from: Vec::new(),
        replace_socket,
    })
}

fn cluster(home: &Home, plan: &Plan, number: u16, ports: &mut Ports) -> Result<ClusterSettings, Failure> {
    let name = format!("cluster-{number}");
    let mut members = Vec::new();
    for (member, letter) in (1..=plan.members).zip('a'..) {
        let control = ports.address(Place::Control(number, member))?;
        let handoff = ports.address(Place::Handoff(number, member))?;
        members.push(MemberSettings {
            name: format!("{name}-{letter}"),
            control,
            handoff,
            advertise: Advertised { control, handoff },
            listen: listeners(&MEMBER_SERVICES, |service| ports.address(Place::Member(number, member, service)))?,
        });
    }
    Ok(ClusterSettings {
        storage: plan.storage.get(&name).cloned().unwrap_or_else(|| home.storage(&name)),
        key: home.secret(&format!("{name}.key")),
        proxy_from: Vec::new(),
        trust_from: Vec::new(),
        handoff_tls: None,
        handoff_from: vec![IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8))],
        members,
        reserve_bytes: ClusterSettings::RESERVE_BYTES,
        probe: ProbePolicy::default(),
        timing: ClusterTiming::default(),
        openings: Openings::default(),
        name,
    })
}

fn listeners(
    services: &[Service],
    mut place: impl FnMut(Service) -> Result<SocketAddr, Failure>,
) -> Result<BTreeMap<Service, SocketAddr>, Failure> {
    services.iter().map(|service| Ok((*service, place(*service)?))).collect()
}

/// Every listener of the installation, with a name for messages.
pub fn addresses(config: &Config) -> Vec<(SocketAddr, String)> {
    let mut list = Vec::new();
    if let Some(embedded) = &config.directory.embedded {
        list.push((embedded.listen, "ldap of the directory".into()));
        list.extend(embedded.listen_tls.map(|address| (address, "ldaps of the directory".into())));
        list.extend(embedded.metrics.map(|address| (address, "metrics of the directory".into())));
    }
    let mut add = |name: &str, listen: &BTreeMap<Service, SocketAddr>| {
        list.extend(listen.iter().map(|(service, address)| (*address, format!("{} of {name}", service.name()))));
    };
    config.routers.iter().for_each(|router| add(&router.name, &router.listen));
    let members = || config.clusters.iter().flat_map(|cluster| &cluster.members);
    members().for_each(|member| add(&member.name, &member.listen));
    for member in members() {
        list.push((member.control, format!("control of {}", member.name)));
        list.push((member.handoff, format!("handoff of {}", member.name)));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_accepted_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("data")).unwrap();
        let plan = Plan {
            domain: "example.org".into(),
            clusters: 9,
            members: 9,
            routers: 9,
            accounts: 1,
            base_port: 10_000,
            ldap: None,
            storage: BTreeMap::new(),
        };
        let mut config = generate(&home, &plan, &mut Ports::new(plan.base_port)).unwrap();
        let text = config.render(home.path());
        let read = Config::read(&text, home.path()).unwrap_or_else(|faults| panic!("{faults:?}"));
        config.limits.connections_max = read.limits.connections_max;
        assert_eq!(read, config);
        assert_eq!(read.directory.base, "dc=example,dc=org");
        assert_eq!(addresses(&read).len(), 3 + 9 * 11 + 81 * 7);
    }
}
