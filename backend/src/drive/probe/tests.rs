use super::*;
use crate::probe::{Check, Verdict};

async fn serve(storage: &Path, key: u8) -> (SocketAddr, Correspondence) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let correspondence = Correspondence::of_stranger(&[key; 32], "one", address);
    let (serving, storage) = (correspondence.clone(), storage.to_owned());
    tokio::spawn(async move { serving.serve(listener, &storage).await });
    (address, correspondence)
}

fn names(storage: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(storage).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn a_folder_of_this_machine_is_sound_with_a_peer_with_a_second_path_and_alone() {
    let storage = tempfile::tempdir().unwrap();
    let (address, correspondence) = serve(storage.path(), 7).await;
    let mut played = 0;
    let with_peer = probe_with(storage.path(), &correspondence, address, &mut |round, _| played = round).await.unwrap();
    let other_path = storage.path().join(".");
    let pair = probe_pair(storage.path(), &other_path, &mut |_, _| ()).await.unwrap();
    let alone = probe_alone(storage.path(), &mut |_, _| ()).await.unwrap();
    for report in [&with_peer, &pair, &alone] {
        assert_eq!(report.findings.verdict(), Verdict::Sound, "{report:?}");
        assert!(Check::ALL.into_iter().all(|check| report.findings.of(check).tried > 0));
    }
    assert_eq!(played, with_peer.findings.rounds);
    assert!(alone.peer.is_none() && pair.peer.is_some());
    assert_eq!(names(storage.path()), [""; 0], "nothing is left");
}

#[tokio::test]
async fn a_peer_with_another_folder_is_no_peer() {
    let (storage, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (address, correspondence) = serve(elsewhere.path(), 7).await;
    let refused = probe_with(storage.path(), &correspondence, address, &mut |_, _| ()).await;
    assert!(matches!(refused, Err(ProbeError::Absent(_))), "{refused:?}");
    let refused = probe_pair(storage.path(), elsewhere.path(), &mut |_, _| ()).await;
    assert!(matches!(refused, Err(ProbeError::Absent(_))), "{refused:?}");
    assert_eq!((names(storage.path()), names(elsewhere.path())), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn nobody_without_the_key_is_helped() {
    let storage = tempfile::tempdir().unwrap();
    let (address, _) = serve(storage.path(), 7).await;
    let stranger = Correspondence::of_stranger(&[8; 32], "one", address);
    let refused = probe_with(storage.path(), &stranger, address, &mut |_, _| ()).await;
    assert!(matches!(refused, Err(ProbeError::Peer { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_second_prober_is_told_to_come_again() {
    let storage = tempfile::tempdir().unwrap();
    let (address, correspondence) = serve(storage.path(), 7).await;
    let first = Site::begin(storage.path()).await.unwrap();
    let (welcome, _) = correspondence.reach(address, first.number).await.unwrap();
    assert!(matches!(welcome, Welcome::Ready(..)));
    let busy = probe_with(storage.path(), &correspondence, address, &mut |_, _| ()).await;
    assert!(matches!(busy, Err(ProbeError::Busy(_))), "{busy:?}");
    drop(welcome);
    // The place is free once the first prober's thread has ended.
    let mut again = busy;
    while matches!(again, Err(ProbeError::Busy(_))) {
        again = probe_with(storage.path(), &correspondence, address, &mut |_, _| ()).await;
    }
    assert_eq!(again.unwrap().findings.verdict(), Verdict::Sound);
}

#[tokio::test]
async fn a_storage_that_is_missing_is_named() {
    let storage = tempfile::tempdir().unwrap();
    let missing = storage.path().join("missing");
    let failed = probe_alone(&missing, &mut |_, _| ()).await;
    assert!(matches!(failed, Err(ProbeError::Storage { .. })), "{failed:?}");
}
