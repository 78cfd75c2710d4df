//! `layer KERNEL K BITS TIMES C_IN SIZE C_OUT TAPS`: prepares a square convolution with weights of BITS bits for the
//! ring of K bits and computes it TIMES times. benches/arm.sh counts its instructions.

use std::error::Error;

use twinmask_kernels::{Kernels, Scratch};
use twinmask_layer::{Conv, Geometry};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let kernel = Kernels::native().named(&arguments.next().ok_or("no kernel")?)?;
    let numbers: Vec<u32> = arguments.map(|a| a.parse()).collect::<Result<_, _>>()?;
    let [k, bits, times, c_in, size, c_out, taps] = numbers[..] else { return Err("seven numbers".into()) };
    let geometry = Geometry::Conv(Conv::square([c_in, c_out], size, taps, 1, taps / 2));
    geometry.validate()?;
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_769).rotate_left(9).wrapping_mul(0x85eb_ca6b);
    let weights: Vec<i16> = (0..geometry.weight_len()).map(|i| (noise(i) as i32 >> (32 - bits)) as i16).collect();
    let x: Vec<u32> = (0..geometry.in_len()).map(noise).collect();
    let (linear, mut y) = (kernel.prepare(&geometry, &weights, k), vec![0; geometry.out_len()]);
    let mut scratch = Scratch::default();
    for _ in 0..times {
        linear.apply(&x, &mut y, &mut scratch);
    }
    println!("{} {}", linear.picked(), geometry.macs());
    Ok(())
}
