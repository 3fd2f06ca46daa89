#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netstack/virtio/ring_layout.h"
#include "netstack/virtio/vhost_user_message.h"
#include "tests/unit/port_fixture.h"

// A vhost-user front end and its guest, played by a test: memory in a memfd, a driver's side of
// split and packed rings, messages over a socket pair. The test writes what it likes into any of
// it.

constexpr uint64_t kGuestBase = 0x1'0000'0000;  // guest addresses are none of ours
constexpr uint64_t kUserBase = 0x7000'0000'0000;
constexpr size_t kGuest_size = 4U << 20U;

class GuestRam {
 public:
  explicit GuestRam(size_t size = kGuest_size) : size_(size) {
    file_ = netstack::Fd(::memfd_create("guest", MFD_CLOEXEC));
    if (::ftruncate(file_.get(), static_cast<off_t>(size)) != 0) std::abort();
    base_ = static_cast<uint8_t*>(
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
  }
  ~GuestRam() { ::munmap(base_, size_); }
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  uint8_t* at(uint64_t guest_address) { return base_ + (guest_address - kGuestBase); }
  uint64_t take(size_t size, size_t align = 64) {  // memory for the test's own use, guest address
    used_ = (used_ + align - 1) / align * align;
    const uint64_t address = kGuestBase + used_;
    used_ += size;
    if (used_ > size_) std::abort();
    return address;
  }
  uint64_t put(const Bytes& bytes) {
    const uint64_t address = take(bytes.size(), 1);
    if (!bytes.empty()) std::memcpy(at(address), bytes.data(), bytes.size());
    return address;
  }
  void shrink() { (void)!::ftruncate(file_.get(), 0); }
  uint8_t* base() { return base_; }
  size_t size() const { return size_; }
  int file() const { return file_.get(); }
  netstack::MemoryRegionWire region() const { return {kGuestBase, size_, kUserBase, 0}; }

 private:
  size_t size_;
  size_t used_ = 4096;
  netstack::Fd file_;
  uint8_t* base_ = nullptr;
};

struct Buffer {
  uint64_t address;
  uint32_t size;
};

struct Returned {
  uint16_t id;
  uint32_t size;
};

// The driver's side of one ring, either kind. Ids are those of the chain's first descriptor (split)
// or counted up (packed).
class DriverRing {
 public:
  DriverRing(GuestRam& ram, uint16_t count, bool is_packed)
      : packed(is_packed), count_(count), ram_(ram) {
    using namespace netstack;
    descriptors = ram.take(sizeof(SplitDescriptor) * count, 4096);
    driver_area = ram.take(packed ? sizeof(EventSuppression) : avail_size(count), 64);
    device_area = ram.take(packed ? sizeof(EventSuppression) : used_size(count), 64);
  }

  // Makes one chain available.
  uint16_t add(const std::vector<Buffer>& buffers, bool writes) {
    return packed ? add_packed(buffers, writes) : add_split(buffers, writes);
  }
  // One chain behind an indirect table.
  uint16_t add_indirect(const std::vector<Buffer>& buffers, bool writes) {
    using namespace netstack;
    const uint64_t table = ram_.take(16 * buffers.size(), 16);
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto write = static_cast<uint16_t>(writes ? kDescriptorWrite : 0);
      const bool more = i + 1 < buffers.size();
      if (packed) {
        const PackedDescriptor entry{buffers[i].address, buffers[i].size, 0, write};
        std::memcpy(ram_.at(table + 16 * i), &entry, 16);
      } else {
        const SplitDescriptor entry{buffers[i].address, buffers[i].size,
                                    static_cast<uint16_t>(write | (more ? kDescriptorNext : 0)),
                                    static_cast<uint16_t>(more ? i + 1 : 0)};
        std::memcpy(ram_.at(table + 16 * i), &entry, 16);
      }
    }
    return add_raw({table, static_cast<uint32_t>(16 * buffers.size())},
                   netstack::kDescriptorIndirect);
  }
  // One descriptor with these flags, whatever they are.
  uint16_t add_raw(Buffer buffer, uint16_t flags, uint16_t next = 0) {
    using namespace netstack;
    if (packed) {
      put_packed(buffer, flags, true);
      return static_cast<uint16_t>(next_id_++);
    }
    const auto head = static_cast<uint16_t>(free_++ % count_);
    const SplitDescriptor entry{buffer.address, buffer.size, flags, next};
    std::memcpy(ram_.at(descriptors + 16 * head), &entry, 16);
    make_available(head);
    return head;
  }

  std::optional<Returned> get_used() {
    using namespace netstack;
    if (!packed) {
      uint16_t index = 0;
      std::memcpy(&index, ram_.at(device_area + 2), 2);
      if (index == used_) return std::nullopt;
      UsedElement element;
      std::memcpy(&element, ram_.at(device_area + 4 + 8 * (used_ % count_)), 8);
      ++used_;
      return Returned{static_cast<uint16_t>(element.id), element.size};
    }
    PackedDescriptor entry;
    std::memcpy(&entry, ram_.at(descriptors + 16 * used_slot_), 16);
    const bool avail = (entry.flags & kDescriptorAvail) != 0;
    const bool used = (entry.flags & kDescriptorUsed) != 0;
    if (avail != used || used != used_wrap_) return std::nullopt;
    used_slot_ = static_cast<uint16_t>(used_slot_ + lengths_[used_ % lengths_.size()]);
    ++used_;
    if (used_slot_ >= count_) {
      used_slot_ = static_cast<uint16_t>(used_slot_ - count_);
      used_wrap_ = !used_wrap_;
    }
    return Returned{entry.id, entry.size};
  }

  void want_calls(bool wanted) {
    const uint16_t value = wanted ? 0 : 1;
    std::memcpy(ram_.at(packed ? driver_area + 2 : driver_area), &value, 2);
  }
  bool device_wants_kicks() {
    uint16_t flags = 0;
    std::memcpy(&flags, ram_.at(packed ? device_area + 2 : device_area), 2);
    return flags != 1;
  }

  bool packed;
  uint64_t descriptors, driver_area, device_area;
  uint16_t count() const { return count_; }

 private:
  uint16_t add_split(const std::vector<Buffer>& buffers, bool writes) {
    using namespace netstack;
    const auto head = static_cast<uint16_t>(free_ % count_);
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto slot = static_cast<uint16_t>(free_++ % count_);
      const bool more = i + 1 < buffers.size();
      const SplitDescriptor entry{
          buffers[i].address, buffers[i].size,
          static_cast<uint16_t>((writes ? kDescriptorWrite : 0) | (more ? kDescriptorNext : 0)),
          static_cast<uint16_t>((slot + 1) % count_)};
      std::memcpy(ram_.at(descriptors + 16 * slot), &entry, 16);
    }
    make_available(head);
    return head;
  }
  void make_available(uint16_t head) {
    std::memcpy(ram_.at(driver_area + 4 + 2 * (available_ % count_)), &head, 2);
    ++available_;
    netstack::store_release(ram_.at(driver_area + 2), available_);
  }
  uint16_t add_packed(const std::vector<Buffer>& buffers, bool writes) {
    const auto write = static_cast<uint16_t>(writes ? netstack::kDescriptorWrite : 0);
    for (size_t i = 0; i < buffers.size(); ++i) {
      const bool more = i + 1 < buffers.size();
      put_packed(buffers[i], static_cast<uint16_t>(write | (more ? netstack::kDescriptorNext : 0)),
                 !more);
    }
    return static_cast<uint16_t>(next_id_++);
  }
  // Not atomic about the first descriptor: the test makes chains while nobody looks.
  void put_packed(Buffer buffer, uint16_t flags, bool last) {
    using namespace netstack;
    const auto bits = static_cast<uint16_t>(avail_wrap_ ? kDescriptorAvail : kDescriptorUsed);
    const PackedDescriptor entry{buffer.address, buffer.size, static_cast<uint16_t>(next_id_),
                                 static_cast<uint16_t>(flags | bits)};
    std::memcpy(ram_.at(descriptors + 16 * avail_slot_), &entry, 16);
    ++chain_length_;
    if (++avail_slot_ == count_) {
      avail_slot_ = 0;
      avail_wrap_ = !avail_wrap_;
    }
    if (!last) return;
    lengths_[next_id_ % lengths_.size()] = chain_length_;
    chain_length_ = 0;
  }

  uint16_t count_;
  GuestRam& ram_;
  uint32_t free_ = 0;
  uint16_t available_ = 0;
  uint16_t used_ = 0;
  uint16_t avail_slot_ = 0, used_slot_ = 0;
  bool avail_wrap_ = true, used_wrap_ = true;
  uint32_t next_id_ = 0;
  uint16_t chain_length_ = 0;
  std::array<uint16_t, 4096> lengths_{};  // in slots, by chain
};

// The front end's end of the socket.
class FrontEnd {
 public:
  FrontEnd() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
      std::abort();
    }
    back_end = netstack::Fd(ends[0]);
    socket = netstack::Fd(ends[1]);
  }

  template <class T>
  bool send(netstack::VhostUserRequest request, const T& payload, std::vector<int> fds = {},
            uint32_t size = sizeof(T), uint32_t flags = 1) {
    return send_bytes(static_cast<uint32_t>(request), flags, &payload, size, fds);
  }
  bool send(netstack::VhostUserRequest request) {
    return send_bytes(static_cast<uint32_t>(request), 1, nullptr, 0, {});
  }
  bool send_bytes(uint32_t request, uint32_t flags, const void* payload, uint32_t size,
                  const std::vector<int>& fds) {
    netstack::VhostUserHead head{request, flags, size};
    std::array<iovec, 2> pieces{{{&head, sizeof head}, {const_cast<void*>(payload), size}}};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = size == 0 ? 1 : 2;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 16)> control{};
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
    }
    return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL) >= 0;
  }
  std::optional<netstack::VhostUserMessage> reply() {
    if (!channel_) channel_.emplace(netstack::Fd(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0)));
    if (channel_->receive() != netstack::VhostUserChannel::Got::kMessage) return std::nullopt;
    return std::move(channel_->message());
  }

  bool share(const GuestRam& ram) {
    struct {
      uint32_t count, padding;
      netstack::MemoryRegionWire region;
    } table{1, 0, ram.region()};
    return send(netstack::VhostUserRequest::kSetMemTable, table, {ram.file()});
  }
  void start_ring(uint32_t index, const DriverRing& ring, int kick, int call, uint32_t base) {
    using namespace netstack;
    using enum VhostUserRequest;
    const auto user = [](uint64_t guest) { return guest - kGuestBase + kUserBase; };
    send(kSetVringNum, VringStateWire{index, ring.count()});
    send(kSetVringBase, VringStateWire{index, base});
    send(kSetVringAddr, VringAddressWire{index, 0, user(ring.descriptors), user(ring.device_area),
                                         user(ring.driver_area), 0});
    send(kSetVringKick, uint64_t{index}, {kick});
    send(kSetVringCall, uint64_t{index}, {call});
    send(kSetVringEnable, VringStateWire{index, 1});
  }

  netstack::Fd back_end;
  netstack::Fd socket;

 private:
  std::optional<netstack::VhostUserChannel> channel_;
};

inline netstack::Fd make_event() {
  return netstack::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
inline uint64_t event_count(const netstack::Fd& event) {
  uint64_t count = 0;
  (void)!::read(event.get(), &count, sizeof count);
  return count;
}
