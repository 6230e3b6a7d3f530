#!/busybox/sh
# NVIDIA's MPS control program, for who starts it with nearly no environment, as the device plugin does.
#
# Without a PATH it does not find its server, and without the folder of the driver's libraries that server ends at once
# (k8s-device-plugin #1614): on Talos both lie outside of the folders that are searched by themselves.
export PATH=/usr/local/nvidia/bin:/usr/local/bin:/usr/bin:/bin:/busybox
export LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/lib:/usr/local/glibc/usr/lib:/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu:/usr/lib64:/lib64
exec nvidia-cuda-mps-control "$@"
