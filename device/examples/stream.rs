//! Classifies frames one after the other, raw RGB on standard input: `stream FOLDER EDGE_A EDGE_B WIDTH HEIGHT <
//! FRAMES` (`ffmpeg -i door.mp4 -f rawvideo -pix_fmt rgb24 - | stream cam1 host-a:7401 host-b:7402 640 480`)

use std::io::Read;

use twinmask_device::{Device, DeviceError, Image, blocking};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, edge_a, edge_b, width, height] = args.as_slice() else {
        return Err("five arguments are needed".into());
    };
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    // While the device looks at a frame, edge A computes its part of the next one.
    let device = blocking::Device::open(Device::builder(folder).edges(edge_a, edge_b).prefetch(1))?;
    let (mut frames, mut pixels) = (std::io::stdin().lock(), vec![0; 3 * width as usize * height as usize]);
    while frames.read_exact(&mut pixels).is_ok() {
        match device.run(Image::rgb8(width, height, &pixels)?) {
            Ok(result) => println!("{:?} in {:.1} ms", result.top(1), result.times.total.as_secs_f64() * 1e3),
            // The next frame opens a new session.
            Err(e @ (DeviceError::Unreachable { .. } | DeviceError::Busy { .. })) => eprintln!("frame left out: {e}"),
            Err(e) => return Err(e.into()),
        }
    }
    device.close();
    Ok(())
}
