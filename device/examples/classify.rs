//! Classifies a picture privately: `classify FOLDER EDGE_A EDGE_B PICTURE`

use twinmask_device::{Device, Image};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, edge_a, edge_b, picture] = args.as_slice() else { return Err("four arguments are needed".into()) };
    let device = Device::builder(folder).edges(edge_a, edge_b).open().await?;
    let result = device.run(Image::path(picture)?).await?;
    for (label, p) in result.top(5) {
        println!("{p:.3} {label}");
    }
    println!("{} rounds, {:.1} ms", result.rounds, result.times.total.as_secs_f64() * 1e3);
    device.close().await;
    Ok(())
}
