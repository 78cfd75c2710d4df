//! Even the most talkative logs keep the secrets.

use twinmask_tests::data::parse_npy;
use twinmask_tests::secrets::Secrets;
use twinmask_tests::{Deployment, Pair, kernels, run};

/// If this fails, somebody who reads logs or reports can unmask what the device sent, or pose as the device.
#[test]
fn no_secret_is_logged_or_reported() {
    let deployment = Deployment::lenet();
    let key = std::fs::read_to_string(deployment.path("devices/cam/identity/key.pem")).expect("the device's key");
    let secrets = Secrets::of(&deployment.bundle("lenet"), &key);
    let input = deployment.tensor("input", &[1, 1, 28, 28]);
    let output = deployment.scratch("output.npy");
    for kernel in kernels() {
        let arguments = ["--kernel", kernel, "--log", "trace"];
        let mut pair = Pair { a: deployment.edge("edge-a", &arguments), b: deployment.edge("edge-b", &arguments) };
        let device = |arguments: &[&str]| {
            let mut command = deployment.device_command(&pair.a.address, &pair.b.address);
            let out = run(command.env("TWINMASK_LOG", "trace").args(arguments), std::time::Duration::from_secs(60));
            assert!(out.code != Some(0) || out.stderr.contains("TRACE"), "not at its most talkative: {}", out.stderr);
            secrets.check("the device's log", &out.stderr);
            secrets.check("the device's report", &out.stdout);
            out
        };
        let (input, output) = (input.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
        device(&["infer", input, "--json", "--save-output", output]).expect_ok();
        device(&["infer", input, "--top", "10"]).expect_ok();
        device(&["bench", "--runs", "3"]).expect_ok();
        device(&["--model", "none", "infer", input]).expect_code(3);
        assert_eq!(parse_npy(&std::fs::read(output).expect("saved")).1.len(), 10);
        for edge in [&mut pair.a, &mut pair.b] {
            let metrics = edge.get("/metrics").1;
            let out = edge.stop().expect_ok();
            assert!(out.stderr.contains("TRACE"), "the edge's log is not at its most talkative");
            for text in [&out.stderr, &out.stdout, &metrics] {
                secrets.check("an edge", text);
            }
        }
    }
}
