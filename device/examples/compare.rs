//! Tells whether two pictures show the same person: `compare FOLDER EDGE_A EDGE_B PICTURE PICTURE`

use twinmask_device::{Device, Image, Mode, Similarity};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, edge_a, edge_b, a, b] = args.as_slice() else { return Err("five arguments are needed".into()) };
    let device = Device::builder(folder).edges(edge_a, edge_b).mode(Mode::Relay).open().await?;
    // Both at a time: a device's futures are independent of each other.
    let (a, b) = tokio::try_join!(device.run(Image::path(a)?), device.run(Image::path(b)?))?;
    let Similarity { cosine, l2 } = Similarity::of(&a.outputs[0], &b.outputs[0])?;
    let threshold = device.model().bundle().threshold.unwrap_or(0.5);
    let verdict = if cosine >= f64::from(threshold) { "same" } else { "different" };
    println!("{verdict}: cosine {cosine:.4}, L2 distance {l2:.4}, threshold {threshold}");
    device.close().await;
    Ok(())
}
