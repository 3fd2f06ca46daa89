// The negotiation half of a vhost-user back end. kRows is the whole protocol as we speak it: which
// requests there are, how long they may be, how many descriptors they bring and who takes them.
// What is not in the table, or comes in another shape, ends the session.
//
// A request that is well formed and cannot be granted (memory that does not fit, a ring in no
// region) is refused: with a negative reply where the front end asked for one, else by ending the
// session, since it would go on in a belief that is wrong.
//
// Everything runs between bursts, on one thread, and no frame outlives its tick: so memory may be
// taken away and rings stopped on the spot, without waiting for anybody.
#include "netstack/virtio/vhost_user_session.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <utility>

namespace netstack {

struct VhostUserSession::Row {
  VhostUserRequest request;
  const char* name;
  uint32_t size_min;  // of the payload
  uint32_t size_max;
  size_t fd_count_max;
  Handler handler;
};

const VhostUserSession::Row* VhostUserSession::row_of(VhostUserRequest request) {
  using Session = VhostUserSession;
  using enum VhostUserRequest;
  constexpr uint32_t kU64 = 8;
  constexpr uint32_t kTable = kVhostUserPayload_max;
  constexpr uint32_t kRegion = sizeof(SingleRegionWire);
  static constexpr std::array kRows = {
      Row{kGetFeatures, "GET_FEATURES", 0, kU64, 0, &Session::get_features},
      Row{kSetFeatures, "SET_FEATURES", kU64, kU64, 0, &Session::set_features},
      Row{kSetOwner, "SET_OWNER", 0, kU64, 0, &Session::set_owner},
      Row{kResetOwner, "RESET_OWNER", 0, kU64, 0, &Session::reset},
      Row{kSetMemTable, "SET_MEM_TABLE", 8, kTable, kVhostUserFds_max, &Session::set_memory_table},
      Row{kSetLogBase, "SET_LOG_BASE", 16, 16, 1, &Session::set_log_base},
      Row{kSetLogFd, "SET_LOG_FD", 0, kU64, 1, &Session::set_log_fd},
      Row{kSetVringNum, "SET_VRING_NUM", 8, 8, 0, &Session::set_ring_count},
      Row{kSetVringAddr, "SET_VRING_ADDR", 40, 40, 0, &Session::set_ring_address},
      Row{kSetVringBase, "SET_VRING_BASE", 8, 8, 0, &Session::set_ring_base},
      Row{kGetVringBase, "GET_VRING_BASE", 8, 8, 0, &Session::get_ring_base},
      Row{kSetVringKick, "SET_VRING_KICK", kU64, kU64, 1, &Session::set_ring_kick},
      Row{kSetVringCall, "SET_VRING_CALL", kU64, kU64, 1, &Session::set_ring_call},
      Row{kSetVringErr, "SET_VRING_ERR", kU64, kU64, 1, &Session::set_ring_error},
      Row{kGetProtocolFeatures, "GET_PROTOCOL_FEATURES", 0, kU64, 0,
          &Session::get_protocol_features},
      Row{kSetProtocolFeatures, "SET_PROTOCOL_FEATURES", kU64, kU64, 0,
          &Session::set_protocol_features},
      Row{kGetQueueNum, "GET_QUEUE_NUM", 0, kU64, 0, &Session::get_queue_count},
      Row{kSetVringEnable, "SET_VRING_ENABLE", 8, 8, 0, &Session::enable_ring},
      Row{kSendRarp, "SEND_RARP", kU64, kU64, 0, &Session::announce},
      Row{kNetSetMtu, "NET_SET_MTU", kU64, kU64, 0, &Session::set_mtu},
      Row{kGetInFlightFd, "GET_INFLIGHT_FD", kInFlightWire_size, sizeof(InFlightWire), 0,
          &Session::get_in_flight},
      Row{kSetInFlightFd, "SET_INFLIGHT_FD", kInFlightWire_size, sizeof(InFlightWire), 1,
          &Session::set_in_flight},
      Row{kResetDevice, "RESET_DEVICE", 0, kU64, 0, &Session::reset},
      Row{kGetMaxMemSlots, "GET_MAX_MEM_SLOTS", 0, kU64, 0, &Session::get_memory_slots},
      Row{kAddMemReg, "ADD_MEM_REG", kRegion, kRegion, 1, &Session::add_memory},
      Row{kRemMemReg, "REM_MEM_REG", kRegion, kRegion, 1, &Session::remove_memory},
      Row{kSetStatus, "SET_STATUS", kU64, kU64, 0, &Session::set_status},
      Row{kGetStatus, "GET_STATUS", 0, kU64, 0, &Session::get_status},
  };
  for (const Row& row : kRows) {
    if (row.request == request) return &row;
  }
  return nullptr;
}

VhostUserSession::VhostUserSession(Fd connected, const VhostUserOffer& offer, VhostUserOwner& owner)
    : channel_(std::move(connected)), offer_(offer), owner_(owner) {
  offer_.features |= kFeatureProtocolFeatures | kFeatureLogAll;
  rings_.resize(size_t{2} * offer.queue_pair_count);
}

bool VhostUserSession::receive() {
  for (size_t i = 0; i < kVhostUserMessagesPerCall_count; ++i) {
    switch (channel_.receive()) {
      case VhostUserChannel::Got::kNothing:
        return true;
      case VhostUserChannel::Got::kEnd:
        return false;
      case VhostUserChannel::Got::kBroken:
        why_ = fmt::format("its front end sent {}", channel_.why());
        return false;
      case VhostUserChannel::Got::kMessage:
        if (!handle(channel_.message())) return false;
        break;
    }
  }
  return true;
}

bool VhostUserSession::handle(VhostUserMessage& message) {
  const Row* row = row_of(message.request());
  if (row == nullptr) {
    why_ =
        fmt::format("its front end sent request {}, which was not offered", message.head.request);
    return false;
  }
  if (message.head.size < row->size_min || message.head.size > row->size_max ||
      message.fds.size() > row->fd_count_max) {
    why_ = fmt::format("its front end sent {} with {} bytes and {} descriptors", row->name,
                       message.head.size, message.fds.size());
    return false;
  }
  const bool needs_reply = message.needs_reply() && (protocol_features_ & kProtocolReplyAck) != 0;
  const Done done = (this->*row->handler)(message);
  message.fds.clear();
  if (done == Done::kSent) return true;
  message.head.flags = kVhostUserVersion | kVhostUserReply;
  if (done == Done::kAnswered) return channel_.send(message);
  if (needs_reply) {
    message.answer(uint64_t{done == Done::kOk ? 0U : 1U});
    return channel_.send(message);
  }
  if (done == Done::kOk) return true;
  why_ = fmt::format("its front end's {} was refused: {}", row->name, why_);
  return false;
}

VhostUserSession::Done VhostUserSession::refuse(std::string_view why) {
  why_ = why;
  return Done::kRefused;
}

// --- negotiation -------------------------------------------------------------------------------

VhostUserSession::Done VhostUserSession::get_features(VhostUserMessage& message) {
  message.answer(offer_.features);
  return Done::kAnswered;
}

VhostUserSession::Done VhostUserSession::set_features(VhostUserMessage& message) {
  const auto features = message.as<uint64_t>();
  if ((features & ~offer_.features) != 0) return refuse("features that were not offered");
  const uint64_t changed = features ^ features_;
  features_ = features;
  if (!has(kFeatureLogAll)) log_.close();
  if ((changed & ~kFeatureLogAll) != 0) {  // a migration's begin and end touch nothing else
    owner_.on_features(features);
    rebind();
  }
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::get_protocol_features(VhostUserMessage& message) {
  message.answer(offer_.protocol_features);
  return Done::kAnswered;
}

VhostUserSession::Done VhostUserSession::set_protocol_features(VhostUserMessage& message) {
  const auto features = message.as<uint64_t>();
  if ((features & ~offer_.protocol_features) != 0) {
    return refuse("protocol features that were not offered");
  }
  protocol_features_ = features;
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::set_owner(VhostUserMessage&) {
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::reset(VhostUserMessage&) {
  stop_rings();
  status_ = 0;
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::get_queue_count(VhostUserMessage& message) {
  message.answer(uint64_t{offer_.queue_pair_count});
  return Done::kAnswered;
}

VhostUserSession::Done VhostUserSession::announce(VhostUserMessage& message) {
  const auto mac = message.as<std::array<uint8_t, 6>>();
  if ((mac[0] & 1U) != 0) return refuse("the address of a group");
  owner_.on_arrival(mac);
  return Done::kOk;
}

// The front end tells the guest; frames of any length pass here.
VhostUserSession::Done VhostUserSession::set_mtu(VhostUserMessage&) {
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::set_status(VhostUserMessage& message) {
  status_ = static_cast<uint8_t>(message.as<uint64_t>());
  if (status_ == 0) stop_rings();
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::get_status(VhostUserMessage& message) {
  message.answer(uint64_t{status_});
  return Done::kAnswered;
}

// --- memory --------------------------------------------------------------------------------------

VhostUserSession::Done VhostUserSession::set_memory_table(VhostUserMessage& message) {
  const auto count = message.as<uint32_t>();
  if (count > kVhostUserTableRegions_max || message.fds.size() != count ||
      message.head.size < 8 + count * sizeof(MemoryRegionWire)) {
    return refuse("regions, descriptors and length do not go together");
  }
  memory_.clear();
  std::string_view wrong;
  for (size_t at = 0; at < count && wrong.empty(); ++at) {
    const auto region = message.as<MemoryRegionWire>(8 + at * sizeof(MemoryRegionWire));
    wrong = memory_.add(region, std::move(message.fds[at]));
  }
  rebind();
  return wrong.empty() ? Done::kOk : refuse(wrong);
}

VhostUserSession::Done VhostUserSession::get_memory_slots(VhostUserMessage& message) {
  message.answer(uint64_t{kMemorySlots_count});
  return Done::kAnswered;
}

VhostUserSession::Done VhostUserSession::add_memory(VhostUserMessage& message) {
  if (message.fds.size() != 1) return refuse("a region without its descriptor");
  const auto wrong = memory_.add(message.as<SingleRegionWire>().region, std::move(message.fds[0]));
  if (!wrong.empty()) return refuse(wrong);
  rebind();
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::remove_memory(VhostUserMessage& message) {
  if (!memory_.remove(message.as<SingleRegionWire>().region)) return refuse("no such region");
  rebind();
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::set_log_base(VhostUserMessage& message) {
  if (message.fds.size() != 1) return refuse("a log without its descriptor");
  const auto wire = message.as<LogWire>();
  const auto wrong = log_.open(message.fds[0].get(), wire.offset, wire.size);
  if (!wrong.empty()) return refuse(wrong);
  message.answer(uint64_t{0});
  return Done::kAnswered;
}

// Where to announce that the log has changed. The front end looks at it anyway.
VhostUserSession::Done VhostUserSession::set_log_fd(VhostUserMessage&) {
  return Done::kOk;
}

VhostUserSession::Done VhostUserSession::get_in_flight(VhostUserMessage& message) {
  auto wire = message.as<InFlightWire>();
  if (wire.queue_count > rings_.size() || wire.queue_size > kRingCount_max) {
    return refuse("an in-flight record of more queues than there are");
  }
  Fd file;
  const auto wrong = in_flight_.make(wire, is_packed(), file);
  if (!wrong.empty()) return refuse(wrong);
  message.answer(wire, message.head.size);
  message.head.flags = kVhostUserVersion | kVhostUserReply;
  return channel_.send(message, file.get()) ? Done::kSent : refuse("its reply was not read");
}

VhostUserSession::Done VhostUserSession::set_in_flight(VhostUserMessage& message) {
  if (message.fds.size() != 1) return refuse("an in-flight record without its descriptor");
  const auto wrong =
      in_flight_.take(message.as<InFlightWire>(), is_packed(), std::move(message.fds[0]));
  return wrong.empty() ? Done::kOk : refuse(wrong);
}

// --- where the requests about rings are: vhost_user_rings.cc -------------------------------------

}  // namespace netstack
