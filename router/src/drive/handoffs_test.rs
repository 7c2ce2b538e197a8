//! Who is dialled how, and who is let in.

use std::fs;

use laniakea_config::CertificateSettings;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// An authority, and a folder for what it signs.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, rand::random::<u64>().to_string());
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// What somebody has who is called `name`, until `year`.
    fn signed(&self, name: &str, year: i32) -> HandoffTlsSettings {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let file = |kind: &str| self.folder.path().join(format!("{name}-{year}.{kind}"));
        fs::write(file("pem"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
        HandoffTlsSettings {
            own: CertificateSettings { certificate: file("pem"), key: file("key") },
            ca: self.folder.path().join("ca.pem"),
        }
    }
}

/// Who dials, if the only member known is `name` at `member`.
fn caller(settings: Option<&HandoffTlsSettings>, name: &str, member: SocketAddr) -> Handoffs {
    let way = match settings {
        Some(settings) => Way::Tls(connector(settings).unwrap(), server_name(name).unwrap()),
        None => Way::Plain,
    };
    Handoffs::new(Dialler::default(), HandoffTls { ways: [(member, way)].into(), door: None })
}

fn door(settings: &HandoffTlsSettings) -> Handoffs {
    Handoffs::new(Dialler::default(), HandoffTls { ways: HashMap::new(), door: Some(acceptor(settings).unwrap()) })
}

/// What a caller and a member find out of one another: whether a word came through, and why not.
async fn met(
    caller: Option<&HandoffTlsSettings>,
    name: &str,
    door: &Handoffs,
) -> (Result<(), String>, Result<(), String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let caller = self::caller(caller, name, address);
    let calls = async {
        let mut stream = caller.dial(address).await.map_err(|error| error.to_string())?;
        stream.write_all(b"ask").await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(|error| DialError::of(error).to_string())?;
        // Who speaks no TLS hears an alert.
        if answer == b"answer" { Ok(()) } else { Err(format!("{answer:?}")) }
    };
    let answers = async {
        let mut stream = door.accept(listener.accept().await.unwrap().0).await.map_err(|error| error.to_string())?;
        assert!(stream.tls_facts().is_none());
        let mut question = [0; 3];
        stream.read_exact(&mut question).await.map_err(|error| error.to_string())?;
        stream.write_all(b"answer").await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(())
    };
    tokio::join!(calls, answers)
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_let_in_and_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let door = door(&authority.signed("blue-a", 4000));
    let good = authority.signed("router-1", 4000);
    assert_eq!(met(Some(&good), "blue-a", &door).await, (Ok(()), Ok(())));
    // It lies about nothing but the time: whoever checks says so, and whoever is refused is told.
    let (told, found) = met(Some(&authority.signed("router-1", 2000)), "blue-a", &door).await;
    assert!(found.unwrap_err().contains("expired"));
    assert!(told.unwrap_err().contains("CertificateExpired"));
    let foreign = HandoffTlsSettings { ca: good.ca.clone(), ..stranger.signed("router-1", 4000) };
    let (told, found) = met(Some(&foreign), "blue-a", &door).await;
    assert!(found.unwrap_err().contains("UnknownIssuer"));
    assert!(told.is_err());
    let (told, found) = met(None, "blue-a", &door).await;
    assert!(found.unwrap_err().contains("speaks no TLS"));
    assert!(told.is_err());
}

#[tokio::test]
async fn a_member_must_show_its_own_name_and_the_same_authority() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.signed("router-1", 4000);
    let (told, _) = met(Some(&good), "blue-b", &door(&authority.signed("blue-a", 4000))).await;
    assert!(told.unwrap_err().contains("not valid for name"));
    let (told, _) = met(Some(&good), "blue-a", &door(&authority.signed("blue-a", 2000))).await;
    assert!(told.unwrap_err().contains("expired"));
    let (told, _) = met(Some(&good), "blue-a", &door(&stranger.signed("blue-a", 4000))).await;
    assert!(told.unwrap_err().contains("UnknownIssuer"));
    // A member that has not been told yet takes the handshake for nonsense.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { drop(listener.accept().await) });
    let error = caller(Some(&good), "blue-a", address).dial(address).await.unwrap_err();
    assert!(matches!(error, DialError::Tls(_)) && error.is_unreachable() && !error.is_silence());
}

#[tokio::test]
async fn nobody_is_spoken_to_in_the_clear_by_mistake() {
    let authority = Authority::new();
    let (known, unknown) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let settings = authority.signed("router-1", 4000);
    let error = caller(Some(&settings), "blue-a", known).dial(unknown).await.unwrap_err();
    assert!(error.to_string().contains("no member of the configuration"));
    // Where nothing is encrypted anybody is dialled whom the directory names.
    assert!(matches!(caller(None, "blue-a", known).dial(unknown).await, Err(DialError::Connect(_))));
}

#[tokio::test]
async fn other_settings_count_for_the_connections_to_come() {
    let authority = Authority::new();
    let door = Handoffs::default();
    assert_eq!(met(None, "blue-a", &door).await, (Ok(()), Ok(())));
    let settings = authority.signed("blue-a", 4000);
    door.replace(HandoffTls { door: Some(acceptor(&settings).unwrap()), ..HandoffTls::default() });
    assert!(met(None, "blue-a", &door).await.1.is_err());
    assert_eq!(met(Some(&authority.signed("router-1", 4000)), "blue-a", &door).await, (Ok(()), Ok(())));
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let authority = Authority::new();
    let mut settings = authority.signed("blue-a", 4000);
    settings.ca = settings.own.key.clone();
    assert!(matches!(acceptor(&settings), Err(TlsError::NoAuthority(_))));
    assert!(matches!(connector(&settings), Err(TlsError::NoAuthority(_))));
}
