//! The generated gRPC types.

/// The Container Storage Interface, v1.
pub mod csi {
    #![allow(
        clippy::all,
        clippy::too_many_lines,
        clippy::allow_attributes_without_reason,
        dead_code,
        reason = "generated"
    )]
    tonic::include_proto!("csi.v1");
}

/// How a plugin announces itself to the kubelet.
pub mod registration {
    #![allow(
        clippy::all,
        clippy::too_many_lines,
        clippy::allow_attributes_without_reason,
        dead_code,
        reason = "generated"
    )]
    tonic::include_proto!("pluginregistration");
}
