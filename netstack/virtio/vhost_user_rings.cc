// The half of a vhost-user session that starts and stops rings.
//
// A ring starts when all it needs is known: its size, addresses that lie in the guest's memory, and
// a kick descriptor (or that there is none, when the front end wants it polled). The specification
// lets a ring start at its first kick; starting at once differs in nothing a driver could see,
// since it kicks after it has made descriptors available.
//
// GET_VRING_BASE stops one ring and tells where it stands. A guest that reboots or unloads its
// driver is the same thing for us: stop, new addresses, start. When memory changes, started rings
// go on at the same position with new pointers; one whose memory has gone stops, and starts again
// when it comes back.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "netstack/virtio/vhost_user_session.h"

namespace netstack {
namespace {

bool aligned(const GuestMemory::RingPlace& place, size_t to) {
  return place.at != nullptr && reinterpret_cast<uintptr_t>(place.at) % to == 0;
}

// Kick and call are eventfds in every front end. Anything else could block a read or a write, or
// not be watchable. Without /proc we cannot tell and take it.
bool may_be_eventfd(int fd) {
  std::array<char, 32> name{};
  const std::string link = fmt::format("/proc/self/fd/{}", fd);
  if (::readlink(link.c_str(), name.data(), name.size() - 1) < 0) return true;
  return std::strcmp(name.data(), "anon_inode:[eventfd]") == 0;
}

}  // namespace

// A counter that is full has been told already.
void VhostUserSession::Ring::call_guest() const {
  const uint64_t one = 1;
  if (call) (void)!::write(call.get(), &one, sizeof one);
}

VhostUserSession::Ring* VhostUserSession::ring_named(uint64_t index) {
  return index < rings_.size() ? &rings_[index] : nullptr;
}

VhostUserSession::Done VhostUserSession::set_ring_count(VhostUserMessage& message) {
  const auto state = message.as<VringStateWire>();
  Ring* ring = ring_named(state.index);
  if (ring == nullptr) return refuse("no such ring");
  const bool legal = is_packed() ? PackedQueue::count_is_legal(state.number)
                                 : SplitQueue::count_is_legal(state.number);
  if (!legal) return refuse("a ring size that no ring has");
  if (ring->started()) return refuse("the ring is in use");
  ring->count = state.number;
  try_start(state.index);
  return Done::kOk;
}

// Sent again for a started ring when a migration begins or ends.
VhostUserSession::Done VhostUserSession::set_ring_address(VhostUserMessage& message) {
  const auto address = message.as<VringAddressWire>();
  Ring* ring = ring_named(address.index);
  if (ring == nullptr) return refuse("no such ring");
  ring->address = address;
  ring->addressed = true;
  if (ring->started()) {
    ring->base = base_of(*ring);
    if (!make_queue(address.index, false)) stop(address.index);
  }
  try_start(address.index);
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::set_ring_base(VhostUserMessage& message) {
  const auto state = message.as<VringStateWire>();
  Ring* ring = ring_named(state.index);
  if (ring == nullptr) return refuse("no such ring");
  if (ring->started()) return refuse("the ring is in use");
  // We hold nothing between ticks, so a packed ring's used position is where it is read.
  const uint32_t position = state.number & 0xffffU;
  ring->base = is_packed() ? position | position << 16U : position;
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::get_ring_base(VhostUserMessage& message) {
  const auto state = message.as<VringStateWire>();
  Ring* ring = ring_named(state.index);
  if (ring == nullptr) return refuse("no such ring");
  stop(state.index);
  ring->kick_given = false;
  ring->kick.reset();
  message.answer(VringStateWire{state.index, ring->base});
  return Done::kAnswered;
}

// Reads a message about a ring and its descriptor. `fd` stays empty when there is none.
VhostUserSession::Done VhostUserSession::take_ring_fd(VhostUserMessage& message, Fd& fd,
                                                      Ring*& ring) {
  const auto word = message.as<uint64_t>();
  ring = ring_named(word & kVringIndexMask);
  if (ring == nullptr) return refuse("no such ring");
  const bool wants_none = (word & kVringNoFd) != 0;
  if (message.fds.size() != (wants_none ? 0U : 1U))
    return refuse("a descriptor missing or too many");
  if (wants_none) return Done::kOk;
  fd = std::move(message.fds[0]);
  if (!may_be_eventfd(fd.get())) return refuse("a descriptor that is no eventfd");
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::set_ring_kick(VhostUserMessage& message) {
  Fd fd;
  Ring* ring = nullptr;
  if (take_ring_fd(message, fd, ring) != Done::kOk) return Done::kRefused;
  const auto at = static_cast<size_t>(ring - rings_.data());
  stop(at);  // its owner watches the old descriptor
  ring->kick = std::move(fd);
  ring->kick_given = true;
  if (!has(kFeatureProtocolFeatures)) ring->enabled = true;
  try_start(at);
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::set_ring_call(VhostUserMessage& message) {
  Fd fd;
  Ring* ring = nullptr;
  if (take_ring_fd(message, fd, ring) != Done::kOk) return Done::kRefused;
  ring->call = std::move(fd);
  ring->call_guest();  // what a back end before us gave back, the guest may not have been told of
  return Done::kOk;
}

// A breach ends the session, which says more than this descriptor could.
VhostUserSession::Done VhostUserSession::set_ring_error(VhostUserMessage& message) {
  Fd fd;
  Ring* ring = nullptr;
  return take_ring_fd(message, fd, ring);
}

VhostUserSession::Done VhostUserSession::enable_ring(VhostUserMessage& message) {
  const auto state = message.as<VringStateWire>();
  Ring* ring = ring_named(state.index);
  if (ring == nullptr || state.number > 1) return refuse("no such ring");
  ring->enabled = state.number == 1;
  return Done::kOk;
}

// --- queues --------------------------------------------------------------------------------------

template <class Queue>
bool VhostUserSession::make_queue_of(Ring& ring, RingSetup setup, bool resume) {
  if (!Queue::count_is_legal(setup.count)) return false;
  const VringAddressWire& address = ring.address;
  setup.descriptors =
      memory_.translate_user(address.descriptors, sizeof(SplitDescriptor) * setup.count);
  setup.driver_area =
      memory_.translate_user(address.available, Queue::driver_area_size(setup.count));
  setup.device_area = memory_.translate_user(address.used, Queue::device_area_size(setup.count));
  if (!aligned(setup.descriptors, Queue::kAlign_descriptors) ||
      !aligned(setup.driver_area, Queue::kAlign_driver_area) ||
      !aligned(setup.device_area, Queue::kAlign_device_area)) {
    return false;
  }
  if (resume) {
    if constexpr (std::is_same_v<Queue, PackedQueue>) {
      resume_packed(setup);
    } else {
      resume_split(setup);
    }
  }
  ring.queue.emplace<Queue>(setup);
  return true;
}

// `resume`: the ring starts, and goes on where its in-flight record says.
bool VhostUserSession::make_queue(size_t at, bool resume) {
  Ring& ring = rings_[at];
  RingSetup setup;
  setup.count = static_cast<uint16_t>(ring.count);
  setup.event_index = has(kFeatureEventIndex);
  setup.direction = at % 2 == 0 ? Direction::kWrite : Direction::kRead;
  setup.base = ring.base;
  setup.memory = &memory_;
  setup.log = &log_;
  setup.in_flight = in_flight_.of(at, setup.count);
  return is_packed() ? make_queue_of<PackedQueue>(ring, setup, resume)
                     : make_queue_of<SplitQueue>(ring, setup, resume);
}

uint32_t VhostUserSession::base_of(const Ring& ring) {
  if (const auto* split = std::get_if<SplitQueue>(&ring.queue)) return split->base();
  if (const auto* packed = std::get_if<PackedQueue>(&ring.queue)) return packed->base();
  return ring.base;
}

void VhostUserSession::try_start(size_t at) {
  Ring& ring = rings_[at];
  if (ring.started() || ring.count == 0 || !ring.addressed || !ring.kick_given) return;
  if (!make_queue(at, true)) return;
  owner_.on_ring_start(at);
  ring.call_guest();  // as in set_ring_call(): whichever comes last
}

void VhostUserSession::stop(size_t at) {
  Ring& ring = rings_[at];
  if (!ring.started()) return;
  owner_.on_ring_stop(at);
  ring.base = base_of(ring);
  ring.queue = std::monostate{};
}

void VhostUserSession::stop_rings() {
  for (size_t at = 0; at < rings_.size(); ++at) {
    stop(at);
    rings_[at].kick_given = false;
    rings_[at].enabled = false;
  }
}

// Memory or features have changed: the same rings at new addresses, or none.
void VhostUserSession::rebind() {
  for (size_t at = 0; at < rings_.size(); ++at) {
    Ring& ring = rings_[at];
    if (ring.started()) {
      ring.base = base_of(ring);
      if (!make_queue(at, false)) stop(at);
    }
    try_start(at);
  }
}

}  // namespace netstack
