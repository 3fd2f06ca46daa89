#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/virtio/guest_memory.h"

// The vhost-user protocol on the wire, as QEMU's docs/interop/vhost-user.rst has it. Native byte
// order.
namespace netstack {

struct VhostUserHead {
  uint32_t request;
  uint32_t flags;
  uint32_t size;  // of the payload
};
static_assert(sizeof(VhostUserHead) == 12);

constexpr uint32_t kVhostUserVersion = 1;
constexpr uint32_t kVhostUserVersionMask = 3;
constexpr uint32_t kVhostUserReply = 1U << 2U;
constexpr uint32_t kVhostUserNeedReply = 1U << 3U;

constexpr size_t kVhostUserTableRegions_max = 8;  // VHOST_MEMORY_BASELINE_NREGIONS
constexpr size_t kVhostUserFds_max = kVhostUserTableRegions_max;
constexpr size_t kVhostUserPayload_max = 8 + kVhostUserTableRegions_max * sizeof(MemoryRegionWire);

// VHOST_USER_PROTOCOL_F_…
constexpr uint64_t kProtocolMq = 1U << 0U;
constexpr uint64_t kProtocolLogShmfd = 1U << 1U;
constexpr uint64_t kProtocolRarp = 1U << 2U;
constexpr uint64_t kProtocolReplyAck = 1U << 3U;
constexpr uint64_t kProtocolNetMtu = 1U << 4U;
constexpr uint64_t kProtocolInFlightShmfd = 1U << 12U;
constexpr uint64_t kProtocolResetDevice = 1U << 13U;
constexpr uint64_t kProtocolConfigureMemSlots = 1U << 15U;
constexpr uint64_t kProtocolStatus = 1U << 16U;

// Feature bits that concern the transport and not the card.
constexpr uint64_t kFeatureLogAll = 1ULL << 26U;            // VHOST_F_LOG_ALL
constexpr uint64_t kFeatureIndirect = 1ULL << 28U;          // VIRTIO_F_INDIRECT_DESC
constexpr uint64_t kFeatureEventIndex = 1ULL << 29U;        // VIRTIO_F_EVENT_IDX
constexpr uint64_t kFeatureProtocolFeatures = 1ULL << 30U;  // VHOST_USER_F_PROTOCOL_FEATURES
constexpr uint64_t kFeatureVersion1 = 1ULL << 32U;          // VIRTIO_F_VERSION_1
constexpr uint64_t kFeatureRingPacked = 1ULL << 34U;        // VIRTIO_F_RING_PACKED
constexpr uint64_t kFeatureInOrder = 1ULL << 35U;           // VIRTIO_F_IN_ORDER

enum class VhostUserRequest : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogFd = 7,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kSendRarp = 19,
  kNetSetMtu = 20,
  kGetInFlightFd = 31,
  kSetInFlightFd = 32,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
  kSetStatus = 39,
  kGetStatus = 40,
};

struct VringStateWire {
  uint32_t index;
  uint32_t number;
};
struct VringAddressWire {
  uint32_t index;
  uint32_t flags;
  uint64_t descriptors;
  uint64_t used;
  uint64_t available;
  uint64_t log;
};
static_assert(sizeof(VringAddressWire) == 40);
struct LogWire {
  uint64_t size;
  uint64_t offset;
};
struct SingleRegionWire {
  uint64_t padding;
  MemoryRegionWire region;
};
static_assert(sizeof(SingleRegionWire) == 40);

// A payload of one u64 for kick, call and error: ring index, and whether there is no descriptor.
constexpr uint64_t kVringIndexMask = 0xff;
constexpr uint64_t kVringNoFd = 1U << 8U;

// One message with the descriptors that came with it, which are ours to close.
struct VhostUserMessage {
  VhostUserHead head{};
  std::array<uint8_t, kVhostUserPayload_max> payload{};
  std::vector<Fd> fds;

  VhostUserRequest request() const { return static_cast<VhostUserRequest>(head.request); }
  bool needs_reply() const { return (head.flags & kVhostUserNeedReply) != 0; }
  template <class T>
  T as(size_t offset = 0) const {
    T value{};
    std::memcpy(&value, payload.data() + offset, sizeof value);
    return value;
  }
  template <class T>
  void answer(const T& value, uint32_t size = sizeof(T)) {
    head.size = size;
    std::memcpy(payload.data(), &value, size);
    fds.clear();
  }
};

// Reads messages from a connected UNIX stream socket, in pieces as they come, and writes replies.
class VhostUserChannel {
 public:
  explicit VhostUserChannel(Fd socket) : socket_(std::move(socket)) {}

  enum class Got : uint8_t { kMessage, kNothing, kEnd, kBroken };
  // kMessage: message() is whole, until the next call. kBroken: why() says which rule was broken.
  Got receive();
  VhostUserMessage& message() { return message_; }
  const char* why() const { return why_; }

  // False: the front end does not read its replies, or has gone.
  bool send(const VhostUserMessage& message, int fd = -1);

  int fd() const { return socket_.get(); }

 private:
  Got read_into(uint8_t* at, size_t size);
  Got broken(const char* why);

  Fd socket_;
  VhostUserMessage message_;
  size_t have_size_ = 0;  // of head and payload
  const char* why_ = "";
};

}  // namespace netstack
