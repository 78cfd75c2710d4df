//! After the first call, applying a layer allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use twinmask_kernels::{Input, Kernels, Scratch, split};
use twinmask_layer::{Conv, Fc, Geometry};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks of it.
struct Counting;

// SAFETY: everything is passed on to `System`; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_after_the_first_call() {
    let (stride, pad, dilation) = ([2, 1], [1; 4], [1, 1]);
    let shapes = [
        Geometry::Conv(Conv { c_in: 20, h: 17, w: 15, c_out: 48, kh: 3, kw: 3, stride, pad, dilation, groups: 2 }),
        Geometry::Fc(Fc { rows: 1, inputs: 500, outputs: 70 }),
        Geometry::Fc(Fc { rows: 9, inputs: 500, outputs: 70 }),
    ];
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0u8; 10]));
    assert_eq!(ALLOCATIONS.get(), before + 1, "the counter counts");
    let kernels = Kernels::native();
    for name in kernels.names() {
        for geometry in &shapes {
            let linear =
                kernels.named(name).expect("offered").prepare(geometry, &vec![1000; geometry.weight_len()], 28);
            let parts = split(&*linear, 2);
            let (x, mut y) = (vec![7; geometry.in_len()], vec![0; geometry.out_len()]);
            let (mut input, mut scratch) = (Input::default(), Scratch::default());
            let mut run = || {
                linear.apply(&x, &mut y, &mut scratch);
                linear.load(&[&x], &mut input);
                let mut rest = &mut y[..];
                for channels in &parts {
                    let (part, others) =
                        rest.split_at_mut(channels.len() * geometry.out_len() / geometry.out_channels());
                    linear.part(&input, channels.clone(), part, &mut scratch);
                    rest = others;
                }
            };
            run();
            let before = ALLOCATIONS.get();
            run();
            assert_eq!(ALLOCATIONS.get(), before, "{name} {geometry:?}");
        }
    }
}
