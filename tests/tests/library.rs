//! The device's library as an application uses it, over real QUIC.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use twinmask_device::{Device, DeviceError, Inference, Integrity, Mode, Tensor};
use twinmask_testkit::numbers;
use twinmask_tests::networks::{save, wide};
use twinmask_tests::{DEVICE, Deployment, Pair};

const LONG: Duration = Duration::from_secs(60);

/// The input of [`wide`], whose first upload leaves in several pieces: it can be dropped with half a frame on its way.
fn picture(label: &str) -> Tensor {
    Tensor::new([1, 3, 160, 160], numbers(label, 3 * 160 * 160)).expect("fits")
}

fn digit(label: &str) -> Tensor {
    Tensor::new([1, 1, 28, 28], numbers(label, 28 * 28)).expect("fits")
}

async fn open(deployment: &Deployment, pair: &Pair, mode: Mode, prefetch: usize) -> Device {
    let builder = Device::builder(deployment.path("devices").join(DEVICE)).edges(&pair.a.address, &pair.b.address);
    builder.mode(mode).prefetch(prefetch).open().await.expect("a session")
}

/// Polls an inference `most` times and drops it then; none if it was not done.
async fn polled(device: &Device, input: Tensor, most: usize) -> Option<Result<Inference, DeviceError>> {
    let (mut run, mut polls) = (pin!(device.run(input)), 0);
    poll_fn(|cx| {
        polls += 1;
        if polls > most { Poll::Ready(None) } else { run.as_mut().poll(cx).map(Some) }
    })
    .await
}

/// If this fails, an application that drops an inference half way loses its session, or reuses what was given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_inference_burns_its_counter_and_leaves_the_session_usable() {
    let deployment = Deployment::new();
    let file = save(&wide(), &deployment.scratch("wide.onnx"));
    deployment.add("wide", &["--onnx", &file]);
    let pair = deployment.edges("portable");
    let expected = Device::local(deployment.path("devices").join(DEVICE)).expect("all weights");
    let expected = expected.run(picture("kept")).await.expect("alone").outputs;
    for (mode, prefetch) in [(Mode::Split, 0), (Mode::Relay, 0), (Mode::Split, 2)] {
        let opened = pair.a.log().matches("session opened").count();
        let device = open(&deployment, &pair, mode, prefetch).await;
        let mut given_up = 0;
        for most in 1.. {
            // Whether it is done within so many polls depends on the machine; that it is at last, does not.
            match tokio::time::timeout(LONG, polled(&device, picture("given up"), most)).await.expect("in time") {
                Some(done) => {
                    done.expect("an inference");
                    break;
                }
                None => given_up += 1,
            }
            let kept = device.run(picture("kept")).await.unwrap_or_else(|e| panic!("{mode}, {most} polls: {e}"));
            assert_eq!(kept.outputs, expected, "{mode}, {most} polls");
        }
        assert!(given_up >= 5, "{mode}: given up at {given_up} places only");
        // What edge A had made for those given up keeps no room from the others (a busy machine may be late now and
        // then).
        let mut late = 0;
        while device.run(picture("kept")).await.expect("an inference").fallbacks > 0 {
            late += 1;
            assert!(late < 50, "{mode}: corrections never come again");
        }
        device.close().await;
        let sessions = pair.a.log().matches("session opened").count() - opened;
        assert_eq!(sessions, 1, "{mode}: the session was opened anew");
    }
}

/// If this fails, an application cannot run inferences side by side on one device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inferences_run_side_by_side_on_clones() {
    let deployment = Deployment::lenet();
    let pair = deployment.edges("portable");
    let device = open(&deployment, &pair, Mode::Split, 0).await;
    let alone = Device::local(deployment.path("devices").join(DEVICE)).expect("all weights");
    let mut running = tokio::task::JoinSet::new();
    for i in 0..4 {
        let (device, alone) = (device.clone(), alone.clone());
        running.spawn(async move {
            let input = digit(&i.to_string());
            let private = device.run(input.clone()).await.expect("private");
            assert_eq!(private.outputs, alone.run(input).await.expect("alone").outputs);
            assert_eq!((private.mode, private.rounds), (Mode::Split, 4));
        });
    }
    running.join_all().await;
    assert_eq!(pair.a.log().matches("session opened").count(), 1);
}

/// If this fails, an input that is no good costs a session or a counter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_no_good_is_not_sent() {
    let deployment = Deployment::lenet();
    let nowhere = Device::builder(deployment.path("devices").join(DEVICE)).edges("127.0.0.1:9", "127.0.0.1:9");
    let device = nowhere.integrity(Integrity::NONE).timeout(Duration::from_millis(100)).build().expect("nobody called");
    for bad in [Tensor::new([1], vec![1.0f32]), Tensor::new([1, 1, 28, 28], vec![f32::NAN; 784])] {
        let error = device.run(bad.expect("fits its own shape")).await.expect_err("no good");
        assert!(matches!(error, DeviceError::Input(_)), "{error}");
    }
    let error = device.run(digit("good")).await.expect_err("nobody is there");
    assert!(matches!(error, DeviceError::Unreachable { .. }) && error.exit_code() == 4, "{error}");
}
