//! Compiles the vendored gRPC definitions. protox parses them in Rust, so that no protoc is needed to build.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/csi.proto", "proto/pluginregistration.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    tonic_prost_build::configure()
        .build_client(false)
        // The spec's alpha and group calls that this driver does not offer answer UNIMPLEMENTED by themselves.
        .generate_default_stubs(true)
        .compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
