//! Draws `device/assets/demo.png`, the picture that `device demo` classifies:
//! `cargo run -p twinmask-device --example draw_demo -- device/assets/demo.png`

use image::{Rgb, RgbImage};

/// Blends `b` over `a` by `t` in 0..=1.
fn mix(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * t.clamp(0.0, 1.0))
}

/// The colour at (x, y) in the unit square: sky, sun, two ranges of hills, a lake and a boat.
fn colour(x: f32, y: f32) -> [f32; 3] {
    let mut c = mix([88.0, 150.0, 214.0], [246.0, 208.0, 158.0], y * 1.6);
    let sun = ((x - 0.72).powi(2) + (y - 0.3).powi(2)).sqrt();
    c = mix(c, [255.0, 236.0, 178.0], (0.1 - sun) * 60.0);
    c = mix(c, [255.0, 226.0, 170.0], (0.22 - sun) * 2.0);
    let far = 0.5 + 0.06 * (x * 9.0).sin() + 0.03 * (x * 23.0 + 1.0).sin();
    c = mix(c, [116.0, 128.0, 150.0], (y - far) * 90.0);
    let near = 0.6 + 0.05 * (x * 7.0 + 2.0).sin() + 0.012 * (x * 41.0).sin();
    c = mix(c, [58.0, 94.0, 66.0], (y - near) * 90.0);
    let ripple = 0.5 + 0.5 * (y * 260.0 + (x * 18.0).sin() * 2.0).sin();
    let lake = mix([54.0, 98.0, 128.0], [222.0, 186.0, 150.0], ripple * (0.55 - (x - 0.72).abs() * 2.2));
    c = mix(c, lake, (y - 0.7) * 160.0);
    let hull = (y - 0.79) / 0.05;
    if (0.0..1.0).contains(&hull) && (x - 0.34).abs() < 0.13 - 0.05 * hull {
        c = [120.0, 52.0, 38.0];
    }
    let sail = (0.78 - y) / 0.26;
    if (0.0..1.0).contains(&sail) && x > 0.335 && x < 0.335 + 0.12 * (1.0 - sail) {
        c = [244.0, 240.0, 230.0];
    }
    if (0.5..0.8).contains(&y) && (x - 0.33).abs() < 0.004 {
        c = [70.0, 50.0, 40.0];
    }
    c
}

fn main() -> Result<(), image::ImageError> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "device/assets/demo.png".into());
    let picture = RgbImage::from_fn(224, 224, |x, y| {
        Rgb(colour((x as f32 + 0.5) / 224.0, (y as f32 + 0.5) / 224.0).map(|v| v.clamp(0.0, 255.0) as u8))
    });
    picture.save(path)
}
