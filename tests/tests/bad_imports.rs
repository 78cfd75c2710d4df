//! Networks and pictures that ask for too much or for what is not theirs: refused by the commands, in little memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flate2::{Compression, Crc, write::ZlibEncoder};
use twinmask_tests::networks::{mixed, save};
use twinmask_tests::onnx::Network;
use twinmask_tests::{Deployment, Output, binaries, command, run};

const DEADLINE: Duration = Duration::from_secs(60);
/// Address space that a refusal may take, in KiB: far below what the bad inputs ask for.
const LIMIT_KIB: u32 = 1 << 20;

/// Runs `program` with `arguments` within [`LIMIT_KIB`].
fn limited(program: &Command) -> Output {
    let mut shell = command("sh");
    shell.args(["-c", &format!("ulimit -v {LIMIT_KIB} && exec \"$@\""), "sh"]);
    run(shell.arg(program.get_program()).args(program.get_args()), DEADLINE)
}

/// What `owner-keygen inspect FILE` says, within [`LIMIT_KIB`].
fn inspect(file: &Path) -> Output {
    let mut command = command(binaries::path("owner-keygen"));
    limited(command.arg("inspect").arg(file))
}

/// A file of the torture set.
fn torture(name: &str) -> PathBuf {
    binaries::workspace().join("tests/onnx/models").join(name)
}

/// If this fails, a limit in these tests cuts off a good network too, so that they prove nothing.
#[test]
fn a_good_network_fits_the_limit() {
    inspect(&torture("net_unet.onnx")).expect_ok();
}

/// If this fails, a model file makes the owner's tool read (and issue as weights) files that are not the model's.
#[test]
fn external_data_outside_the_models_folder() {
    let deployment = Deployment::new();
    let folder = deployment.scratch("model");
    std::fs::create_dir(&folder).expect("a folder");
    let secret = [7u8; 4096];
    std::fs::write(deployment.scratch("manifest.json"), secret).expect("writes");
    let refuse = |name: &str, words: &[&str]| {
        let file = folder.join(name);
        std::fs::copy(torture(name), &file).expect("copies");
        let before = deployment.snapshot();
        let arguments = ["--name", "new", "--onnx", file.to_str().expect("UTF-8")];
        deployment.keygen("add-model", &arguments).expect_error(3, &[&[name], words].concat());
        assert!(deployment.snapshot() == before, "a refused model has left something behind");
    };
    // The file that the first one asks for is there and long enough.
    refuse("refused_external_parent_folder.onnx", &["../manifest.json", "lies outside the model's folder"]);
    refuse("refused_external_absolute.onnx", &["/etc/passwd", "lies outside the model's folder"]);
    let link = folder.join("external_data.data");
    std::os::unix::fs::symlink(torture("external_data.data"), &link).expect("links");
    refuse("external_data.onnx", &["external_data.data", "symbolic link"]);
    std::fs::remove_file(&link).expect("own link");
    refuse("external_data.onnx", &["put it beside the model file"]);
    // The same file with its data beside it is a good one.
    std::fs::copy(torture("external_data.data"), &link).expect("copies");
    inspect(&folder.join("external_data.onnx")).expect_ok();
}

/// If this fails, a small file makes the owner's tool, or a device, take all memory.
#[test]
fn a_graph_beyond_the_memory_cap() {
    let deployment = Deployment::new();
    // Each tensor takes 256 MiB, and there is one per node.
    let network = |nodes: usize| {
        let mut n = Network::new(&[1, 16, 2048, 2048]);
        let mut x = n.conv("x", [16, 16], &[1, 1], 1, vec![]);
        for _ in 0..nodes {
            x = n.node("Relu", &[&x], vec![]);
        }
        let file = deployment.scratch(&format!("huge{nodes}.onnx"));
        save(&n.bytes(&x), &file);
        file
    };
    for nodes in [8, 30] {
        inspect(&network(nodes)).expect_error(3, &["more than the cap"]);
    }
}

/// If this fails, sizes whose product overflows pass for small ones, or some file that must be refused crashes the
/// command.
#[test]
fn every_file_to_be_refused_is_refused_by_the_command() {
    let manifest = std::fs::read(binaries::workspace().join("tests/onnx/manifest.json")).expect("the manifest");
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&manifest).expect("a list");
    let mut refused = 0;
    for entry in &entries {
        let Some(reason) = entry["refused"].as_str() else { continue };
        let name = entry["name"].as_str().expect("a name");
        inspect(&torture(&format!("{name}.onnx"))).expect_error(3, &[name, reason]);
        refused += 1;
    }
    assert!(refused > 50, "only {refused} files");
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// A flawless PNG of `side` x `side` black pixels of one bit.
fn png(side: u32) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; 1 + side.div_ceil(8) as usize];
    (0..side).for_each(|_| rows.write_all(&row).expect("memory takes it"));
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let data = rows.finish().expect("memory takes it");
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &data), &chunk(b"IEND", &[])].concat()
}

fn infer(deployment: &Deployment, input: &Path) -> Output {
    let mut command = deployment.device_command("127.0.0.1:9", "127.0.0.1:9");
    limited(command.args(["infer", "--local"]).arg(input))
}

/// If this fails, one picture of a few kilobytes takes a device down.
#[test]
fn a_picture_of_20000_by_20000_pixels() {
    let deployment = Deployment::lenet();
    let path = deployment.scratch("picture.png");
    std::fs::write(&path, png(28)).expect("writes");
    infer(&deployment, &path).expect_ok();
    std::fs::write(&path, png(20_000)).expect("writes");
    infer(&deployment, &path).expect_error(3, &["picture.png", "20000x20000", "megapixels"]);
}

/// If this fails, a picture or an array with other channels than the network's is read as if it fitted.
#[test]
fn another_number_of_channels() {
    let deployment = Deployment::new();
    let file = save(&mixed(), &deployment.scratch("mixed.onnx"));
    deployment.add("mixed", &["--onnx", &file]);
    let good = deployment.tensor("good", &[1, 4, 13, 10]);
    infer(&deployment, &good).expect_ok();
    let picture = deployment.scratch("picture.png");
    std::fs::write(&picture, png(13)).expect("writes");
    infer(&deployment, &picture).expect_error(3, &["picture.png", "4"]);
    let array = deployment.tensor("three", &[1, 3, 13, 10]);
    infer(&deployment, &array).expect_error(3, &["three.npy", "1, 3, 13, 10", "1, 4, 13, 10"]);
}
