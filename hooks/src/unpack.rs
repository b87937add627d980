//! Bytes as they come: looked at before anything else is done with them.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use wasmtime::Engine;

use crate::error::LoadError;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const WASM: [u8; 4] = *b"\0asm";
const CORE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// The component in the bytes, decompressed where they are gzip.
///
/// # Errors
///
/// They are too many, or not a component.
pub(crate) fn unpack(bytes: &[u8], most: u64) -> Result<Vec<u8>, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    let wasm = if bytes.starts_with(&GZIP) { gunzip(bytes, most)? } else { bounded(bytes, most)?.to_vec() };
    if Engine::detect_precompiled(&wasm).is_some() {
        return Err(LoadError::Precompiled);
    }
    match (wasm.get(..4), wasm.get(4..8)) {
        (Some(magic), Some(version)) if magic == WASM && version == COMPONENT => Ok(wasm),
        (Some(magic), Some(version)) if magic == WASM && version == CORE => Err(LoadError::CoreModule),
        (Some(magic), version) if magic == WASM => {
            let found = version.unwrap_or_default();
            Err(LoadError::Invalid(format!("it is cut off or of an unknown kind: version {found:02x?}")))
        }
        _ => Err(LoadError::NotWasm),
    }
}

fn bounded(bytes: &[u8], most: u64) -> Result<&[u8], LoadError> {
    if bytes.len() as u64 > most { Err(LoadError::TooLarge { most }) } else { Ok(bytes) }
}

fn gunzip(bytes: &[u8], most: u64) -> Result<Vec<u8>, LoadError> {
    bounded(bytes, most)?;
    let mut wasm = Vec::new();
    // One byte more than there may be: whoever fills that is too large, however small he came.
    MultiGzDecoder::new(bytes)
        .take(most + 1)
        .read_to_end(&mut wasm)
        .map_err(|error| LoadError::Gzip(error.to_string()))?;
    bounded(&wasm, most)?;
    if wasm.is_empty() { Err(LoadError::Empty) } else { Ok(wasm) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const SMALLEST: &[u8] = b"\0asm\x0d\0\x01\0";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn refused(bytes: &[u8]) -> LoadError {
        unpack(bytes, 1 << 20).unwrap_err()
    }

    #[test]
    fn a_component_comes_plain_or_compressed() {
        assert_eq!(unpack(SMALLEST, 1 << 20).unwrap(), SMALLEST);
        assert_eq!(unpack(&gzip(SMALLEST), 1 << 20).unwrap(), SMALLEST);
    }

    #[test]
    fn what_is_no_component_is_refused_with_what_it_is() {
        assert!(matches!(refused(b""), LoadError::Empty));
        assert!(matches!(refused(&gzip(b"")), LoadError::Empty));
        assert!(matches!(refused(b"\0asm\x01\0\0\0"), LoadError::CoreModule));
        assert!(matches!(refused(b"(component)"), LoadError::NotWasm));
        assert!(matches!(refused(b"\0asm"), LoadError::Invalid(_)));
        assert!(matches!(refused(b"\0asm\x0c\0\x01\0"), LoadError::Invalid(_)));
        assert!(matches!(refused(&gzip(&gzip(SMALLEST))), LoadError::NotWasm));
    }

    #[test]
    fn what_is_too_large_is_refused_also_when_it_comes_small() {
        assert!(matches!(unpack(&[0; 101], 100), Err(LoadError::TooLarge { most: 100 })));
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(bomb.len() < 10_000);
        assert!(matches!(refused(&bomb), LoadError::TooLarge { .. }));
        // Many bombs one behind the other are one file to gzip.
        assert!(matches!(refused(&bomb.repeat(4)), LoadError::TooLarge { .. }));
    }

    #[test]
    fn broken_gzip_is_refused() {
        let whole = gzip(&[7; 5000]);
        assert!(matches!(refused(&whole[..whole.len() - 4]), LoadError::Gzip(_)));
        assert!(matches!(refused(&[0x1f, 0x8b, 0, 0]), LoadError::Gzip(_)));
    }
}
