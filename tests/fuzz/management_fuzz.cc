// vde_switch's console, spoken to by two sessions while plugs come, send and go. Checked: every
// byte that comes back is a reply, a prompt or an event of VDE's grammar; a session is never left
// without its prompt; the VLANs stay what their rules say.
//
// An input is text with these bytes in between (any other is text):
//
//   00 the read ends here         04 the oldest plug leaves        08 the path of a script
//   01 a plug comes (1)           05 the session reads             0b the other session
//   02 a frame comes (3)          06 the input ends                0e a read that was full ends
//   here 03 60 ms pass                 07 the script becomes what follows up to the next 00
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/base/check.h"
#include "tests/fuzz/input.h"
#include "tests/unit/console_fixture.h"
#include "tools/vde_switch/banner.h"
#include "tools/vde_switch/session.h"

using namespace netstack;

namespace {

constexpr size_t kInput_size = 4096;       // the rest is not looked at
constexpr size_t kScript_size = 256;       // it cannot name itself: loading is tried, not recursion
constexpr size_t kAnswers_size = 1 << 20;  // enough for the grammar; the rest is read and forgotten

const std::string& script_path() {
  static const TemporaryDirectory directory;
  static const std::string path = directory.file("script");
  return path;
}

// --- the grammar of replies ---------------------------------------------------------------------

// Takes one line and its LF off the front.
std::string_view take_line(std::string_view& text) {
  const size_t end = text.find('\n');
  check(end != std::string_view::npos, "what is no prompt is a whole line");
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

bool is_coded(std::string_view line, char first) {
  return line.size() > 5 && line[0] == first && line[4] == ' ' &&
         line.substr(1, 3).find_first_not_of("0123456789") == std::string_view::npos;
}

// Lines that stand before a code without being framed as data.
bool is_remark(std::string_view line) {
  return line.starts_with("vde[") || line == "Can't use fstp in hub mode" ||
         line.starts_with("There is no spanning tree here;");
}

void judge_grammar(std::string_view text) {
  const std::string_view prompt = tools::kVdePrompt;
  while (!text.empty()) {
    if (text.starts_with(prompt)) {
      text.remove_prefix(prompt.size());
      continue;
    }
    const std::string_view line = take_line(text);
    if (line == "0000 DATA END WITH '.'") {
      while (take_line(text) != ".") continue;
      check(is_coded(take_line(text), '1'), "data ends with a code");
    } else {
      check(is_coded(line, '1') || is_coded(line, '3') || is_remark(line), "a line is of VDE's");
    }
  }
}

// --- a session ----------------------------------------------------------------------------------

class Talk {
 public:
  explicit Talk(ConsoleWorld& world) : world_(world) {
    int ends[2];
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "there are sockets");
    ours_ = Fd(ends[0]);
    session_.emplace(
        world.interpreter, world.state, Fd(ends[1]),
        tools::Session::Habits{{}, [this](tools::Next next) { return end(next); }, [] {}});
  }

  void take(std::string_view bytes) {
    if (!session_->wants_input() || bytes.empty()) return;
    session_->take(bytes);
  }
  void take_end() { session_->take_end(); }
  void read() {
    std::array<char, 65536> bytes;
    for (;;) {
      const ssize_t got = ::recv(ours_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got <= 0) return;
      answers_.append(bytes.data(), static_cast<size_t>(got));
      if (answers_.size() > kAnswers_size) cut_ = true;
      if (cut_) answers_.erase(0, answers_.size() - std::min<size_t>(answers_.size(), 64));
    }
  }
  void judge() {
    while (!session_->replies().empty()) {
      read();
      world_.loop.tick(0);
    }
    read();
    check(shut_down_ || session_->wants_input(), "a session that is read is served");
    check(answers_.empty() || answers_.back() == '\n' || answers_.ends_with(tools::kVdePrompt),
          "an answer is whole");
    if (!cut_) judge_grammar(answers_);
  }
  bool shut_down() const { return shut_down_; }

 private:
  // A logout does not end it, as on a console, so that what follows is tried too.
  bool end(tools::Next next) {
    shut_down_ = shut_down_ || next == tools::Next::kShutdown;
    return shut_down_;
  }

  ConsoleWorld& world_;
  Fd ours_;
  std::optional<tools::Session> session_;
  std::string answers_;
  bool cut_ = false;
  bool shut_down_ = false;
};

// --- what goes on meanwhile ---------------------------------------------------------------------

std::vector<MemoryPort*> plugs_of(ConsoleWorld& world) {
  std::vector<MemoryPort*> plugs;
  for (const auto& [number, port] : world.lan.ports().ports()) {
    for (const tools::Endpoint& endpoint : port->endpoints) {
      plugs.push_back(static_cast<MemoryPort*>(endpoint.port.get()));
    }
  }
  return plugs;
}

void send_frame(ConsoleWorld& world, uint8_t which, uint8_t stations, uint8_t tag) {
  const auto plugs = plugs_of(world);
  if (plugs.empty()) return;
  Bytes frame = numbered_frame(64, 7);
  frame[5] = stations >> 4U;
  frame[11] = stations & 15U;
  if (tag != 0) {
    frame[12] = 0x81;
    frame[13] = 0;
    frame[14] = 0;
    frame[15] = tag;
  }
  MemoryPort& plug = *plugs[which % plugs.size()];
  plug.inject(frame);
  for (MemoryPort* one : plugs) one->take();
}

void plug_in(ConsoleWorld& world, uint8_t how) {
  PlugRequest request;
  request.management = (how & 1U) != 0;
  request.port_number = how >> 4U;
  request.owner = how & 2U ? 0 : 4242;
  world.plug(request, how & 4U ? "a plug ." : "");
}

void judge_vlans(ConsoleWorld& world) {
  const vlan::Vlans& vlans = world.lan.fabric().vlans();
  check(vlans.exists(0), "VLAN 0 stays");
  size_t untagged_count = 0;
  vlans.for_each([&](int vid) {
    for (const PortId port : vlans.untagged_ports(vid)) {
      check(vlans.pvid(port) == vid, "an untagged member has the VLAN as its PVID");
      check(!vlans.tagged(vid, port), "a member is of one kind");
    }
    untagged_count += vlans.untagged_ports(vid).size();
  });
  size_t with_pvid_count = 0;
  for (const auto& [number, port] : world.lan.ports().ports()) {
    with_pvid_count += vlans.pvid(number) != vlan::kNoVid ? 1 : 0;
  }
  check(untagged_count == with_pvid_count, "a port is an untagged member once at most");
}

class Run {
 public:
  void run(std::string_view input) {
    for (rest_ = input; !rest_.empty();) step(take());
    talks_[at_].take(text_);
    world_.loop.tick(0);
    for (Talk& talk : talks_) talk.judge();
    judge_vlans(world_);
  }

 private:
  uint8_t take() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return byte;
  }
  void step(uint8_t byte) {
    switch (byte) {
      case 0x00:
      case 0x0e:
        return cut();
      case 0x01:
        return plug_in(world_, take());
      case 0x02: {
        const uint8_t which = take();
        const uint8_t stations = take();
        return send_frame(world_, which, stations, take());
      }
      case 0x03:
        world_.clock.advance_ns(60 * kMillisecond_ns);
        return world_.loop.tick(0);
      case 0x04:
        if (const auto plugs = plugs_of(world_); !plugs.empty()) world_.lan.remove(*plugs[0], "");
        return;
      case 0x05:
        return talks_[at_].read();
      case 0x06:
        cut();
        return talks_[at_].take_end();
      case 0x07:
        return write_script();
      case 0x08:
        text_ += script_path();
        return;
      case 0x0b:
        cut();
        at_ = 1 - at_;
        return;
      default:
        text_ += static_cast<char>(byte);
    }
  }
  void cut() {
    talks_[at_].take(text_);
    text_.clear();
  }
  void write_script() {
    const std::string_view text = rest_.substr(0, std::min(rest_.find('\0'), kScript_size));
    rest_.remove_prefix(text.size());
    std::ofstream(script_path()) << text;
  }

  ConsoleWorld world_;
  std::array<Talk, 2> talks_{Talk(world_), Talk(world_)};
  size_t at_ = 0;
  std::string_view rest_;
  std::string text_;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::ofstream(script_path()) << "showinfo\n";
  const int before_count = tests::low_descriptor_count();
  {
    Run run;
    run.run({reinterpret_cast<const char*>(data), std::min(size, kInput_size)});
  }
  check(tests::low_descriptor_count() == before_count, "no descriptor is left open");
  return 0;
}
