use std::time::Instant;
use twinmask_kernels::*;
use twinmask_layer::{Conv, Geometry};
fn main() {
    let shapes = [
        ("res56", 64, 64, 56, 3, 1),
        ("res28", 128, 128, 28, 3, 1),
        ("res14", 256, 256, 14, 3, 1),
        ("res7", 512, 512, 7, 3, 1),
        ("vgg224", 64, 64, 224, 3, 1),
        ("vgg112", 128, 128, 112, 3, 1),
        ("vgg28", 512, 512, 28, 3, 1),
        ("alex2", 64, 192, 27, 5, 2),
        ("alex3", 192, 384, 13, 3, 1),
        ("alex5", 256, 256, 13, 3, 1),
    ];
    for (name, ci, co, s, kk, p) in shapes {
        let g = Geometry::Conv(Conv { w: s, pad: [p; 4], ..Conv::square([ci, co], s, kk, 1, p) });
        let w: Vec<i16> = (0..g.weight_len()).map(|i| ((i * 7919) % 255) as i16 - 127).collect();
        let x: Vec<u32> = (0..g.in_len() as u32).map(|i| i.wrapping_mul(2654435769)).collect();
        let kernels = Kernels::native();
        let want: Vec<String> = std::env::args().skip(1).collect();
        print!("{name:7} {:8.1} MMAC ", g.macs() as f64 / 1e6);
        for n in &want {
            let l = kernels.named(n).unwrap().prepare(&g, &w, 28);
            let mut y = vec![0; g.out_len()];
            let mut sc = Scratch::default();
            let mut best = f64::MAX;
            for _ in 0..12 {
                let t = Instant::now();
                l.apply(&x, &mut y, &mut sc);
                best = best.min(t.elapsed().as_secs_f64());
            }
            print!(" {} {:.0}", l.picked(), g.macs() as f64 / best / 1e9);
        }
        println!();
    }
}
