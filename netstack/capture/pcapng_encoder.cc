// The file numbers its interfaces by the order of their descriptions, and a frame that names an
// interface which is not described makes all that follows unreadable. So a description travels in
// the same unit as the first frame of its interface, and if that unit does not get into the file,
// the number is given back: the interface's next frame brings its description again.
//
// Direction: a frame is recorded once, as it enters the switch, on the interface of the port it
// came from, and is inbound there. Where it goes on to is not recorded: a flooded frame would be
// in the file as many times as there are ports, and every analysis of TCP would see each segment
// twice. What the gateway sends to a guest is, by the same rule, inbound on the gateway's
// interface.
//
// Refused: libpcap, which reads the format and does not write it.
#include "netstack/capture/pcapng_encoder.h"

#include "netstack/capture/pcapng_block.h"

namespace netstack {

using pcapng::Block;

static_assert(pcapng::kTextBytesMax >= kCommentBytesMax, "a comment fits its option");

namespace {

constexpr uint8_t kNanoseconds = 9;  // of kIfTimeResolution

}  // namespace

PcapngEncoder::PcapngEncoder(const InterfaceTable& interfaces, std::string_view application,
                             uint32_t snap_bytes)
    : interfaces_(interfaces), snap_bytes_(snap_bytes) {
  Block block(file_header_, pcapng::kSectionHeader);  // §4.1
  block.number(pcapng::kByteOrderMagic);
  block.number(pcapng::kVersionMajor);
  block.number(pcapng::kVersionMinor);
  block.number(pcapng::kLengthUnknown);
  block.text(pcapng::kShbUserApplication, application);
  block.end();
}

void PcapngEncoder::add_interface(std::vector<uint8_t>& out, std::string_view name,
                                  std::string_view description) const {
  Block block(out, pcapng::kInterfaceDescription);  // §4.2
  block.number(pcapng::kLinkTypeEthernet);
  block.number(uint16_t{0});
  block.number(snap_bytes_);
  block.text(pcapng::kIfName, name);
  block.text(pcapng::kIfDescription, description);
  block.option(pcapng::kIfTimeResolution, kNanoseconds);
  block.end();
}

// The interface's number in the file. Describes it if it has none.
uint32_t PcapngEncoder::describe(uint16_t interface, std::vector<uint8_t>& out) {
  if (interface >= numbers_.size()) {
    numbers_.resize(size_t{interface} + 1);
    written_frames_.resize(numbers_.size());
  }
  std::optional<uint32_t>& number = numbers_[interface];
  if (number) return *number;
  number = static_cast<uint32_t>(described_.size());
  described_.push_back(interface);
  const InterfaceTable::Interface one = interfaces_.at(interface);
  add_interface(out, one.name, one.description);
  return *number;
}

void PcapngEncoder::add(const RecordRing::Record& record) {
  const uint32_t number = describe(record.interface, bytes_);
  const auto size = static_cast<uint32_t>(record.bytes.size());
  Block block(bytes_, pcapng::kEnhancedPacket);  // §4.3
  block.number(number);
  block.time(record.wall_ns);
  block.number(size);
  block.number(record.wire_bytes());
  block.data(record.bytes);
  block.option(pcapng::kEpbFlags, pcapng::kFlagInbound);
  block.text(pcapng::kComment, record.comment);
  block.end();
  ends_.push_back(bytes_.size());
  units_.push_back({record.interface, described_.size()});
}

void PcapngEncoder::settle(size_t unit_count) {
  for (size_t at = 0; at < unit_count; ++at) ++written_frames_[units_[at].interface];
  if (unit_count > 0) settled_count_ = units_[unit_count - 1].described_count;
  while (described_.size() > settled_count_) {
    numbers_[described_.back()].reset();
    described_.pop_back();
  }
  bytes_.clear();
  units_.clear();
  ends_.clear();
}

// libpcap takes no file without an interface, so a capture that saw nothing gets one that says so.
std::vector<uint8_t> PcapngEncoder::file_trailer(uint64_t wall_ns,
                                                 std::span<const uint64_t> seen_frames) {
  std::vector<uint8_t> out;
  if (seen_frames.empty()) add_interface(out, "none", "no port brought a frame");
  for (size_t at = 0; at < seen_frames.size(); ++at) {
    const uint32_t number = describe(static_cast<uint16_t>(at), out);
    Block block(out, pcapng::kInterfaceStatistics);  // §4.6
    block.number(number);
    block.time(wall_ns);
    block.option(pcapng::kIsbReceived, seen_frames[at]);
    block.option(pcapng::kIsbDropped, seen_frames[at] - written_frames_[at]);
    block.end();
  }
  return out;
}

}  // namespace netstack
