//! A bill of materials for each program, in CycloneDX 1.5 (JSON).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::packages::{Package, Supply};

/// A program's bill.
pub struct Bill {
    /// The program.
    pub program: &'static str,
    /// The document.
    pub json: Value,
}

/// The bill of `program`, whose letter in the list is `letter`: every package that is linked into it.
#[must_use]
pub fn bill(supply: &Supply, program: &'static str, letter: char) -> Bill {
    let linked: Vec<&Package> = supply.0.values().filter(|p| p.programs.contains(letter)).collect();
    let refs: BTreeSet<String> = linked.iter().map(|p| purl(&p.name, &p.version)).collect();
    let version = env!("CARGO_PKG_VERSION");
    let own = purl(&format!("twinmask-{program}"), version);
    let needs = |p: &&Package| -> Vec<String> {
        p.needs.iter().map(|(name, version)| purl(name, version)).filter(|r| refs.contains(r)).collect()
    };
    let direct: Vec<String> = linked.iter().filter(|p| p.direct).map(|p| purl(&p.name, &p.version)).collect();
    let mut dependencies = vec![json!({ "ref": own, "dependsOn": direct })];
    dependencies.extend(linked.iter().map(|p| json!({ "ref": purl(&p.name, &p.version), "dependsOn": needs(p) })));
    let json = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": program,
                "version": version,
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
            },
        },
        "components": linked.iter().map(|p| component(p)).collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    Bill { program, json }
}

fn component(package: &Package) -> Value {
    let purl = purl(&package.name, &package.version);
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "scope": "required",
        "purl": purl,
        // Old manifests part alternatives by a slash, which SPDX does not know.
        "licenses": [{ "expression": package.licence.replace('/', " OR ") }],
        "hashes": [{ "alg": "SHA-256", "content": package.checksum }],
    })
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}
