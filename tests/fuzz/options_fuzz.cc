// Command lines and option values: QEMU's, which the driver reads and rewrites, and our own.
// Checked: what is not edited keeps its bytes, an edited value reads back, and a rewritten command
// has the words it had, but for those of its networks.
//
//   words, one to a line
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "driver/rewiring.h"
#include "driver/user_network.h"
#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/config/gateway_config.h"
#include "tests/fuzz/input.h"

using namespace driver;
using netstack::check;
using netstack::Error;

namespace {

using Words = std::vector<std::string>;
constexpr size_t kWords_count = 64;

Words words_of(std::span<const uint8_t> bytes) {
  Words words;
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!rest.empty() && words.size() < kWords_count) {
    const std::string_view word = rest.substr(0, rest.find('\n'));
    if (word.find('\0') == word.npos) words.emplace_back(word);
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
  }
  return words;
}

void read_list(const std::string& text) {
  OptionList list = OptionList::parse(text, "type");
  const std::string again = list.text();
  check(text == again || text == again + ",", "a list that is not edited keeps its bytes");
  for (const std::string& key : list.keys()) {
    check(list.has(key), "a key that is listed is there");
    bool valid = true;
    list.flag(key, valid);
  }
  list.set("mac", text);
  check(OptionList::parse(list.text(), "type").get("mac") == text, "a value survives its escape");
  list.remove("mac");
  check(!list.has("mac"), "what is removed is gone");
  const UserNetwork user = UserNetwork::read(OptionList::parse(text, "type"));
  check(user.prefix_bits <= 32, "a network has a prefix");
}

template <class Parse>
void refused_or_read(Parse parse) {
  try {
    parse();
  } catch (const Error& error) {
    const std::string_view line = error.what();
    check(!line.empty() && line.starts_with("cannot"), "a refusal says what cannot be");
  }
}

void read_own(const std::string& text) {
  using namespace netstack;
  refused_or_read([&] { GatewayNetwork::parse(text); });
  refused_or_read([&] { HostForward::parse(text); });
  refused_or_read([&] { HostEntry::parse(text); });
  refused_or_read([&] { StaticLease::parse(text); });
  refused_or_read([&] { DnsZone::parse(text); });
  refused_or_read([&] { NamesConfig::parse_domain(text); });
  refused_or_read([&] { NamesConfig::parse_mtu(text); });
}

Surroundings surroundings(uint8_t bits) {
  Surroundings result;
  result.qemu = [bits] {
    return QemuFeatures::read(
        fmt::format("QEMU emulator version {}.2.0\n-netdev stream,\n-netdev "
                    "vde,\n-netdev vhost-user,\n",
                    (bits & 1U) != 0 ? 7 : 9));
  };
  result.kvm_works = [bits] { return (bits & 2U) != 0; };
  result.lan = [bits](const std::string&) {
    LanSockets sockets;
    sockets.vhost_user = (bits & 4U) != 0;
    sockets.stream = (bits & 8U) != 0;
    sockets.vde = true;
    return sockets;
  };
  result.plug = name_plug;
  return result;
}

void rewire(const Words& words, uint8_t bits) {
  check(CommandLine(words).edited() == words, "a command that is not edited keeps its words");
  Rewiring wiring(words, surroundings(bits));
  wiring.replug_vde_networks();
  for (const Network& network : wiring.networks()) {
    if (network.kind != Network::Kind::kUser || !wiring.refusal(network).empty()) continue;
    LanSockets lan;
    lan.vhost_user = true;
    lan.stream = true;
    const auto choice = wiring.choose(network, lan);
    if (!choice.transport) continue;
    wiring.replug(network, name_plug("/lan", *choice.transport, wiring.qemu()));
    break;  // the LAN carries one
  }
  const Words after = wiring.argv();
  check(words.empty() || !after.empty(), "a command keeps its program");
  check(words.empty() || after[0] == words[0], "and that is the first word");
  shell_text(after);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  const uint8_t bits = input.u8();
  const Words words = words_of(input.rest());
  for (const std::string& word : words) {
    read_list(word);
    read_own(word);
  }
  if (words.empty()) return 0;
  try {
    rewire(words, bits);
  } catch (const Error&) {
  }
  return 0;
}
