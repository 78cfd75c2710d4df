//! A device that runs for long, while the owner revokes certificates.

use std::time::Duration;

use twinmask_device::{Device, DeviceError, Image, Role};
use twinmask_edge::Daemon;
use twinmask_testkit::InMemory;

/// Longer than the pause between two looks at the list.
const A_WHILE: Duration = Duration::from_millis(1500);

async fn open(deployment: &InMemory, (a, b): (&Daemon, &Daemon)) -> Device {
    let device = Device::builder(deployment.device_dir()).edges(a.addr().to_string(), b.addr().to_string());
    let device = device.open().await.expect("opens");
    run(&device).await.expect("runs");
    device
}

async fn run(device: &Device) -> Result<(), DeviceError> {
    device.run(Image::grey8(28, 28, &[7; 28 * 28])?).await.map(drop)
}

/// The session that was open is not used any more, though the edges know of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_revoked_is_not_used_any_more() {
    for role in [Role::EdgeA, Role::EdgeB] {
        let deployment = InMemory::lenet();
        let (a, b) = deployment.daemons().await;
        let device = open(&deployment, (&a, &b)).await;
        deployment.revoke(&role);
        tokio::time::sleep(A_WHILE).await;
        let error = run(&device).await.expect_err("revoked");
        assert!(error.to_string().contains(&format!("{role}: the certificate of")), "{error}");
        assert!(error.to_string().contains("was revoked by the owner") && error.exit_code() == 5, "{error}");
        // A list that has gone takes nothing back.
        std::fs::remove_file(deployment.device_dir().join("identity/crl.pem")).expect("removes");
        tokio::time::sleep(A_WHILE).await;
        assert!(run(&device).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_with_a_new_certificate_is_used_without_a_failure() {
    let deployment = InMemory::lenet();
    let (a, b) = deployment.daemons().await;
    let device = open(&deployment, (&a, &b)).await;
    deployment.replace(&Role::EdgeB);
    tokio::task::block_in_place(|| b.reload()).expect("good files");
    tokio::time::sleep(A_WHILE).await;
    run(&device).await.expect("a new session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_revoked_says_so() {
    let deployment = InMemory::lenet();
    let (a, b) = deployment.daemons().await;
    let device = open(&deployment, (&a, &b)).await;
    deployment.revoke(&Role::device("cam1").expect("a good name"));
    tokio::time::sleep(A_WHILE).await;
    let error = run(&device).await.expect_err("revoked");
    assert!(error.to_string().contains("the certificate of device/cam1 was revoked by the owner"), "{error}");
    assert_eq!(error.exit_code(), 3);
}
