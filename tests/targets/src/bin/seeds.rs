//! Writes the seeds of all targets to FOLDER/TARGET/, and names each target with its longest input: for
//! `tests/fuzz/run.sh`.

use std::path::Path;

use twinmask_targets::TARGETS;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    for target in &TARGETS {
        let folder = Path::new(&folder).join(target.name);
        std::fs::create_dir_all(&folder)?;
        for seed in (target.seeds)() {
            std::fs::write(folder.join(seed.name), seed.bytes)?;
        }
        println!("{} {}", target.name, target.longest);
    }
    Ok(())
}
