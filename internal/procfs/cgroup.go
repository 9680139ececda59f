package procfs

// CgroupID shortens the kernel's number of a cgroup, an inode number, to 32 bits: on a 32-bit kernel an inode number
// has no more.
func CgroupID(id uint64) uint32 { return uint32(id) }
