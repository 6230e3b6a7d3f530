// Package nvfm stands in for NVIDIA's bindings of the NVSwitch Fabric Manager, which the Go module proxy did not
// serve when this was pinned. It has the names that the DRA driver compiles against, and no Fabric Manager: every call
// says so. GPUs without NVSwitch never reach it.
package nvfm

// Return is the result of a call.
type Return int

// SUCCESS is the only result that is no error.
const SUCCESS Return = 0

const unavailable Return = 1

func (r Return) String() string {
	if r == SUCCESS {
		return "success"
	}
	return "the Fabric Manager is not part of this build"
}

// FabricPartitionId names a partition.
type FabricPartitionId uint32

// GpuInfo describes one GPU of a partition.
type GpuInfo struct {
	PhysicalId          uint32
	Uuid                [80]int8
	PciBusId            [32]int8
	NumNvLinksAvailable uint32
	MaxNumNvLinks       uint32
	NvlinkLineRateMBps  uint32
}

// PartitionInfo describes one partition.
type PartitionInfo struct {
	PartitionId FabricPartitionId
	IsActive    uint32
	NumGpus     uint32
	GpuInfo     [16]GpuInfo
}

// FabricPartitionList is all partitions.
type FabricPartitionList struct {
	NumPartitions uint32
	PartitionInfo [64]PartitionInfo
}

// LibraryOption and ConnectOption are accepted and ignored.
type (
	LibraryOption func()
	ConnectOption func()
)

func WithLibraryPath(string) LibraryOption { return nil }
func WithUnixSocket(string) ConnectOption  { return nil }
func WithAddress(string) ConnectOption     { return nil }
func WithTimeoutMs[T any](T) ConnectOption { return nil }

// Handle is one connection.
type Handle interface {
	Disconnect() Return
	GetSupportedFabricPartitions() (FabricPartitionList, Return)
	ActivateFabricPartition(FabricPartitionId) Return
	DeactivateFabricPartition(FabricPartitionId) Return
}

// Interface is the library.
type Interface interface {
	Init() Return
	Shutdown() Return
	Connect(...ConnectOption) (Handle, Return)
}

type library struct{}

// New returns the library that has no Fabric Manager.
func New(...LibraryOption) Interface { return library{} }

func (library) Init() Return                              { return unavailable }
func (library) Shutdown() Return                          { return SUCCESS }
func (library) Connect(...ConnectOption) (Handle, Return) { return nil, unavailable }
