//! `supply list` writes `docs/dependencies.md` anew; `supply sbom FOLDER` writes a bill of materials (CycloneDX) for
//! each shipped program.

use std::path::Path;

use twinmask_tests::binaries::workspace;
use twinmask_tests::supply::{PROGRAMS, Supply, bill, fresh};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => {
            let page = workspace().join("docs/dependencies.md");
            let text = fresh(&std::fs::read_to_string(&page)?, &Supply::now());
            std::fs::write(page, text)
        }
        ["sbom", folder] => {
            std::fs::create_dir_all(folder)?;
            let supply = Supply::now();
            for (program, letter) in PROGRAMS {
                let path = Path::new(folder).join(format!("{program}.cdx.json"));
                std::fs::write(&path, format!("{:#}\n", bill(&supply, program, letter).json))?;
                println!("{}", path.display());
            }
            Ok(())
        }
        _ => Err(std::io::Error::other("usage: supply list | supply sbom FOLDER")),
    }
}
