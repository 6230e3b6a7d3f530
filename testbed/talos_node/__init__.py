"""Nodes that run the real Talos Linux, in namespaces of this machine: `python -m testbed up --talos v1.13.9`.

Talos' own container mode (what `talosctl cluster create docker` starts), built from the Go module registry and Debian
packages: machined, apid, trustd, controllers, boot sequence, etcd and kubelet are the real programs. The mode leaves
out loading of kernel modules, installation and upgrade, disks, UEFI and udev, and so proves nothing about them.
"""
