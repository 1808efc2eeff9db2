# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which variables a worker gets from the node's environment: by name, and by what it does.

Whatever else stands there, such as a password for a config store, is nobody's business who opens weights or cameras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

COMMON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*"),
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_*", "COVERAGE_*"),
)
"""What Python and the loader of libraries need, whatever they run."""
CAMERAS = ("OPENCV_*", "LIBVA_*", "GST_*", "SSL_CERT_FILE", "SSL_CERT_DIR")
RUNTIMES = (
    *("CUDA_*", "CUDNN_*", "NVIDIA_*", "NCCL_*", "TRT_*", "TENSORRT_*", "ROCR_*", "HIP_*", "HSA_*"),
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "DNNL_*", "ONEDNN_*", "TBB_*", "ATEN_*"),
    *("CUBLAS_*", "TRITON_*"),
    *("ORT_*", "ONNX*", "OPENVINO_*", "OV_*", "TORCH*", "PYTORCH_*", "YOLO_*", "OPENCV_*"),
)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
STORES = (
    *PROXIES,
    *(name.upper() for name in PROXIES),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
    *("FSSPEC_*", "AWS_*", "BOTO_*", "S3_*", "GOOGLE_*", "GCSFS_*", "AZURE_*", "KRB5*", "HADOOP_*"),
)
"""Credentials, proxies and certificates: for who fetches, and for nobody else."""
MORE = "EDGEAGENT_WORKER_VARIABLES"
"""A variable of the node with further names (or patterns such as ABC_*), separated by spaces, for all workers."""


def worker_environment(variables: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that is named: in COMMON, in `variables`, or by the operator."""
    names = (*COMMON, *variables, *environ.get(MORE, "").split())
    return {key: value for key, value in environ.items() if any(fnmatchcase(key, name) for name in names)}
