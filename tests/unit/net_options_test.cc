// How QEMU's words are read: option lists, command lines, user networks.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "driver/command_line.h"
#include "driver/network_options.h"
#include "driver/option_list.h"
#include "driver/user_network.h"

namespace driver {
namespace {

using Words = std::vector<std::string>;

// "key=value" pairs, in order, each key once with its last value.
std::string pairs(const OptionList& list) {
  std::string text;
  for (const std::string& key : list.keys()) {
    text += fmt::format("{}{}={}", text.empty() ? "" : "|", key, list.get(key));
  }
  return text;
}

struct ListCase {
  std::string text;
  std::string pairs;
};

TEST_CASE("option lists are read as QEMU reads them") {
  const std::vector<ListCase> cases = {
      {"", ""},
      {"user", "type=user"},
      {"user,id=n", "type=user|id=n"},
      {"type=user,id=n", "type=user|id=n"},
      {"id=n,type=user", "id=n|type=user"},
      {"user,", "type=user"},
      {"user,id=n,", "type=user|id=n"},
      {"vde,sock=/a,,b,id=n", "type=vde|sock=/a,b|id=n"},
      {"vde,sock=/a,,,id=n", "type=vde|sock=/a,|id=n"},
      {"vde,sock=,,,,x", "type=vde|sock=,,x"},
      {"a,,b,id=n", "type=a,b|id=n"},
      {"user,restrict,id=n", "type=user|restrict=on|id=n"},
      {"user,norestrict", "type=user|restrict=off"},
      {"user,hostfwd=tcp::1-:2=3", "type=user|hostfwd=tcp::1-:2=3"},
      {"user,id=a,id=b", "type=user|id=b"},
      {"user,id=", "type=user|id="},
      {"=x", "=x"},
  };
  for (const ListCase& row : cases) {
    CAPTURE(row.text);
    CHECK(pairs(OptionList::parse(row.text, "type")) == row.pairs);
  }
  CHECK(pairs(OptionList::parse("restrict,nodelay=x", "")) == "restrict=on|nodelay=x");
  const OptionList forwards = OptionList::parse("user,hostfwd=a,hostfwd=b,,c", "type");
  CHECK(forwards.all("hostfwd") == Words{"a", "b,c"});
}

TEST_CASE("flags have eight words, and others are none") {
  const auto flag = [](const std::string& value) {
    bool valid = true;
    const auto result = OptionList::parse("x=" + value, "").flag("x", valid);
    return !valid ? "invalid" : !result ? "absent" : *result ? "on" : "off";
  };
  for (const char* word : {"on", "yes", "true", "y"}) CHECK(flag(word) == std::string("on"));
  for (const char* word : {"off", "no", "false", "n"}) CHECK(flag(word) == std::string("off"));
  for (const char* word : {"", "1", "ON", "maybe"}) CHECK(flag(word) == std::string("invalid"));
  bool valid = true;
  CHECK(!OptionList::parse("y", "type").flag("x", valid));
  CHECK(valid);
}

TEST_CASE("an edit changes one item and escapes it") {
  OptionList list = OptionList::parse("virtio-net-pci,netdev=a,,b,mq,netdev=c,", "driver");
  list.set("netdev", "x,y");
  CHECK(list.text() == "virtio-net-pci,netdev=a,,b,mq,netdev=x,,y");
  list.set("vectors", "0");
  CHECK(list.text() == "virtio-net-pci,netdev=a,,b,mq,netdev=x,,y,vectors=0");
  list.set("driver", "e1000");
  list.remove("netdev");
  CHECK(list.text() == "e1000,mq,vectors=0");
}

// --- command lines ------------------------------------------------------------------------------

std::string options_of(const Words& words) {
  const CommandLine command(words);
  std::string text;
  for (const auto& option : command.options()) {
    text += fmt::format("{}{}", text.empty() ? "" : " ", option.name);
    if (option.has_value) text += "=" + command.value(option);
  }
  return text;
}

TEST_CASE("command lines are taken apart at QEMU's options") {
  CHECK(options_of({"qemu"}).empty());
  CHECK(options_of({"qemu", "-m", "1G", "disk.img", "--nographic", "-M", "q35"}) ==
        "m=1G nographic machine=q35");
  CHECK(options_of({"qemu", "-append", "-netdev", "-nic", "user"}) == "append=-netdev nic=user");
  CHECK(options_of({"qemu", "-snapshot", "-netdev", "user,id=n"}) == "snapshot netdev=user,id=n");
  CHECK(options_of({"qemu", "-netdev"}) == "netdev");
  CHECK(options_of({"qemu", "-", "-S", "-s"}) == "S s");
  CHECK(options_of({"./script", "qemu-system-x86_64", "-nic", "none"}) == "nic=none");
  CommandLine command({"-netdev", "lanyard0", "--net", "lanyard2"});
  CHECK(command.named("netdev").empty());  // the first word is the program
  CHECK(command.named("net").size() == 1);
  CHECK(command.unused_id() == "lanyard1");
  CHECK(command.unused_id() == "lanyard3");
}

TEST_CASE("what is printed for people is what a shell reads back") {
  CHECK(shell_text({"qemu", "-m", "1G", "a b", "-append", "it's $1", "-S", "", "-nic", "none"}) ==
        "qemu \\\n  -m 1G \\\n  'a b' \\\n  -append 'it'\\''s $1' \\\n  -S \\\n  '' \\\n"
        "  -nic none\n");
}

// --- user networks ------------------------------------------------------------------------------

UserNetwork user(const std::string& options) {
  return UserNetwork::read(OptionList::parse("user,id=n," + options, "type"));
}

// "NETWORK/BITS GATEWAY DNS LEASE" in hex; "refused" otherwise.
std::string numbers(const std::string& options) {
  const UserNetwork network = user(options);
  if (!network.refusal.empty()) return "refused";
  return fmt::format("{:08x}/{} {:08x} {:08x} {:08x}", network.network, network.prefix_bits,
                     network.gateway, network.nameserver, network.first_lease);
}

TEST_CASE("a user network has the addresses QEMU would give it") {
  const std::vector<ListCase> cases = {
      {"", "0a000200/24 0a000202 0a000203 0a00020f"},
      {"net=192.168.76.0/24", "c0a84c00/24 c0a84c02 c0a84c03 c0a84c0f"},
      {"net=192.168.76.9/24", "c0a84c00/24 c0a84c02 c0a84c03 c0a84c0f"},
      {"net=192.168.76.0/255.255.255.128", "c0a84c00/25 c0a84c02 c0a84c03 c0a84c0f"},
      {"net=10.0.0.0/16", "0a000000/16 0a000202 0a000203 0a00020f"},
      {"net=10.0.0.0", "0a000000/8 0a000202 0a000203 0a00020f"},
      {"net=172.20.1.1", "ac100000/12 ac100202 ac100203 ac10020f"},
      {"net=192.168.5.0", "c0a80000/16 c0a80202 c0a80203 c0a8020f"},
      {"net=198.18.0.0", "c6120000/15 c6120202 c6120203 c612020f"},
      {"net=130.1.2.3", "82010000/16 82010202 82010203 8201020f"},
      {"net=192.0.2.0", "refused"},  // QEMU's own arithmetic goes astray here
      {"net=10.0.2.0/255.0.255.0", "refused"},
      {"net=10.0.2.0/33", "refused"},
      {"net=10.0.2.0/3", "refused"},
      {"net=10.0.2.0/", "refused"},
      {"net=host/24", "refused"},
      {"host=10.0.2.9", "0a000200/24 0a000209 0a000203 0a00020f"},
      {"dns=10.0.2.8,dhcpstart=10.0.2.100", "0a000200/24 0a000202 0a000208 0a000264"},
      {"dns=192.0.2.53", "0a000200/24 0a000202 c0000235 0a00020f"},
      {"dns=x", "refused"},
  };
  for (const ListCase& row : cases) {
    CAPTURE(row.text);
    CHECK(numbers(row.text) == row.pairs);
  }
  CHECK(!user("restrict=off").own_numbers);
  CHECK(user("dns=10.0.2.3").own_numbers);
}

TEST_CASE("naming one family as on turns the other off") {
  const auto families = [](const std::string& options) {
    const UserNetwork network = user(options);
    return fmt::format("{}{}", network.ipv4 ? "4" : "", network.ipv6 ? "6" : "");
  };
  CHECK(families("") == "46");
  CHECK(families("ipv4=on") == "4");
  CHECK(families("ipv6") == "6");
  CHECK(families("ipv4=on,ipv6=on") == "46");
  CHECK(families("ipv6=off") == "4");
  CHECK(families("noipv4") == "6");
  CHECK(user("restrict").restricted);
  CHECK(!user("restrict=no").restricted);
  CHECK(user("restrict=maybe").refusal == "restrict=maybe: neither on nor off");
}

TEST_CASE("forwards keep QEMU's meaning: every address of the host, unless one is named") {
  const auto forwards = [](const std::string& options) { return user(options).forwards; };
  CHECK(forwards("hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-10.0.2.15:53") ==
        Words{"tcp:0.0.0.0:2222-:22", "udp:127.0.0.1:53-10.0.2.15:53"});
  CHECK(forwards("hostfwd=::80-:80") == Words{"tcp:0.0.0.0:80-:80"});
  CHECK(forwards("hostfwd=unix:/run/x-:22") == Words{"unix:/run/x-:22"});
  CHECK(forwards("hostfwd=tcp:[::1]:80-:80,hostfwd=:[::]:81-:81") ==
        Words{"tcp:[::1]:80-:80", "tcp:[::]:81-:81"});
  CHECK(user("hostfwd=2222").refusal == "hostfwd=2222: not a forward");
}

TEST_CASE("guest forwards to commands and sockets are the gateway's, to QEMU's devices QEMU's") {
  const auto network =
      user("guestfwd=tcp:10.0.2.100:1-cmd:echo a,,b,guestfwd=:10.0.2.100:2-unix:/x");
  CHECK(network.refusal.empty());
  CHECK(network.guest_forwards == Words{"tcp:10.0.2.100:1-cmd:echo a,b", ":10.0.2.100:2-unix:/x"});
  for (const char* other : {"tcp:10.0.2.100:1-chardev0", "tcp:10.0.2.100:1", "tcp:10.0.2.100:1-",
                            "tcp:10.0.2.100:1-unix:/x,,server=on"}) {
    CAPTURE(other);
    CHECK(user(fmt::format("guestfwd={}", other)).refusal.starts_with("guestfwd="));
  }
}

TEST_CASE("what only QEMU's own network can is refused by name") {
  for (const char* key : {"tftp", "tftp-server-name", "bootfile", "smb", "smbserver", "hostname",
                          "dnssearch", "domainname", "ipv6-net", "ipv6-prefix", "ipv6-prefixlen",
                          "ipv6-host", "ipv6-dns", "new-in-qemu-99"}) {
    CAPTURE(key);
    CHECK(user(fmt::format("{}=x", key)).refusal.starts_with(fmt::format("{}: ", key)));
  }
}

// --- networks and who is plugged into them ------------------------------------------------------

std::string described(const Words& words) {
  const CommandLine command(words);
  std::string text;
  for (const Network& network : networks_of(command)) {
    constexpr const char* kPlugs[] = {"device", "net-nic", "nic", "hub", "other"};
    text += fmt::format(
        "{}{}: {}", text.empty() ? "" : "; ", network.name(),
        network.refusal.empty() ? kPlugs[static_cast<size_t>(network.plug)] : "refused");
  }
  return text;
}

struct NetworkCase {
  Words options;
  std::string expected;
};

TEST_CASE("networks and their cards are found in every form") {
  const std::vector<NetworkCase> cases = {
      {{}, ""},
      {{"-netdev", "user,id=n", "-device", "e1000,netdev=n"}, "-netdev user,id=n: device"},
      {{"-device", "e1000,netdev=n", "-netdev", "id=n,type=vde"}, "-netdev vde,id=n: device"},
      {{"-netdev", "user,id=n"}, "-netdev user,id=n: other"},
      {{"-netdev", "user"}, "-netdev user: refused"},
      {{"-netdev", "user,id=n", "-device", R"({"driver":"e1000","netdev":"n"})"},
       "-netdev user,id=n: other"},
      {{"-netdev", "user,id=n", "-device", "e1000,netdev=n", "-object",
        "filter-dump,id=f,netdev=n,file=x"},
       "-netdev user,id=n: other"},
      {{"-netdev", "user,id=n", "-netdev", "hubport,id=h,hubid=0,netdev=n"},
       "-netdev user,id=n: other"},
      {{"-netdev", "user,id=n", "-device", "e1000,netdev=n2"}, "-netdev user,id=n: other"},
      {{"-net", "nic,netdev=user.0,model=virtio", "-netdev", "user,id=user.0,"},
       "-netdev user,id=user.0: net-nic"},
      {{"-netdev", R"({"type":"user","id":"n"})"}, "-netdev user: refused"},
      {{"-netdev", R"({"type":"tap","id":"n"})"}, ""},
      {{"-netdev", "stream,id=n", "-netdev", "vhost-user,id=m,chardev=c", "-nic", "tap"}, ""},
      {{"-nic", "user,model=virtio"}, "-nic user: nic"},
      {{"-nic", "model=virtio"}, "-nic user: nic"},
      {{"-nic", "none"}, ""},
      {{"-net", "nic", "-net", "user"}, "-net user: net-nic"},
      {{"-net", "nic", "-net", "nic", "-net", "user"}, "-net user: hub"},
      {{"-net", "nic", "-net", "user", "-net", "tap"}, "-net user: hub"},
      {{"-net", "nic,netdev=x", "-net", "user"}, "-net user: refused"},
      {{"-net", "nic", "-net", "user", "-netdev", "hubport,id=h,hubid=0,netdev=x"},
       "-net user: hub"},
      {{"-net", "none"}, ""},
      {{"-append", "-netdev", "-name", "-nic"}, ""},
  };
  for (const NetworkCase& row : cases) {
    CAPTURE(fmt::format("{}", row.options));
    Words words = {"qemu-system-x86_64"};
    words.insert(words.end(), row.options.begin(), row.options.end());
    CHECK(described(words) == row.expected);
  }
}

// --- any words at all ---------------------------------------------------------------------------

unsigned seed() {
  const char* given = std::getenv("LANYARD_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                          : std::random_device{}();
}

TEST_CASE("any text: parsed and not edited, it stays byte for byte, but for a last comma") {
  const unsigned first = seed();
  for (unsigned round = 0; round < 20000; ++round) {
    CAPTURE(first + round);
    std::mt19937 random(first + round);
    std::string text;
    for (size_t size = random() % 24; size > 0; --size) text += "a=,no1{-"[random() % 8];
    std::string kept = OptionList::parse(text, random() % 2 == 0 ? "type" : "").text();
    if (kept.size() + 1 == text.size()) kept += ',';
    REQUIRE(kept == text);
  }
}

TEST_CASE("any value survives its escape") {
  const unsigned first = seed();
  for (unsigned round = 0; round < 20000; ++round) {
    CAPTURE(first + round);
    std::mt19937 random(first + round);
    std::string value;
    for (size_t size = random() % 12; size > 0; --size) value += "a,=b"[random() % 4];
    OptionList list = OptionList::parse("type=x,id=n", "type");
    list.set("path", value);
    const OptionList again = OptionList::parse(list.text(), "type");
    REQUIRE(again.get("path") == value);
    REQUIRE(again.get("id") == "n");
  }
}

}  // namespace
}  // namespace driver
