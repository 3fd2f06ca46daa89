#include "driver/qemu_command.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "driver/transport.h"
#include "netstack/base/error.h"

namespace driver {
namespace {

using netstack::Error;
using netstack::Fd;
using Words = std::vector<std::string>;

struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "lanyard-driver-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return path / name; }
  std::string program(const std::string& name, const std::string& text, mode_t mode = 0755) const {
    std::ofstream(file(name)) << text;
    ::chmod(file(name).c_str(), mode);
    return file(name);
  }
  std::filesystem::path path;
};

std::string line_of(const std::function<void()>& attempt, int exit_code) {
  try {
    attempt();
  } catch (const Error& error) {
    CHECK(error.exit_code() == exit_code);
    return error.what();
  }
  return "no error";
}

// --- the command --------------------------------------------------------------------------------

struct CardCase {
  Words argv;
  std::string id;
  std::string model;
};

TEST_CASE("the card goes to the end of a command that is otherwise kept") {
  const TemporaryDirectory dir;
  const std::string x86 = dir.program("qemu-system-x86_64", "#!/bin/sh\n");
  const std::string s390 = dir.program("qemu-system-s390x", "#!/bin/sh\n");
  const std::vector<CardCase> cases = {
      {{x86}, "lanyard0", "virtio-net-pci"},
      {{x86, "-nic", "none", "-nodefaults"}, "lanyard0", "virtio-net-pci"},
      {{x86, "-netdev", "user,id=lanyard0", "-device", "e1000,netdev=lanyard0"},
       "lanyard1",
       "virtio-net-pci"},
      {{x86, "-netdev", R"({"type":"user","id":"lanyard0"})", "-drive", "id=lanyard1"},
       "lanyard2",
       "virtio-net-pci"},
      {{x86, "-M", "microvm"}, "lanyard0", "virtio-net-device"},
      {{x86, "--machine", "microvm,rtc=on"}, "lanyard0", "virtio-net-device"},
      {{x86, "-machine", "accel=tcg,type=microvm"}, "lanyard0", "virtio-net-device"},
      {{x86, "-machine", "microvm", "-machine", "accel=tcg"}, "lanyard0", "virtio-net-device"},
      {{x86, "-M", "microvm", "-M", "q35"}, "lanyard0", "virtio-net-pci"},
      {{x86, "-name", "microvm", "-M", "q35"}, "lanyard0", "virtio-net-pci"},
      {{x86, "-M"}, "lanyard0", "virtio-net-pci"},
      {{s390}, "lanyard0", "virtio-net-ccw"},
  };
  for (const CardCase& row : cases) {
    CAPTURE(fmt::format("{}", row.argv.back()));
    Attachment attachment;
    attachment.netdev = "stream,addr.str=9";
    const GuestCommand command =
        add_network_card(row.argv, std::move(attachment), "52:54:00:AA:bb:01");
    Words expected = row.argv;
    for (const std::string& word :
         {std::string("-netdev"), "stream,addr.str=9,id=" + row.id, std::string("-device"),
          fmt::format("{},netdev={},mac=52:54:00:AA:bb:01", row.model, row.id)}) {
      expected.push_back(word);
    }
    CHECK(command.argv == expected);
    CHECK(command.program == row.argv[0]);
  }
}

// Each '?' of the pattern stands for one lower-case hex digit.
bool fits(const std::string& text, const std::string& pattern) {
  const auto same = [](char t, char p) {
    return p == '?' ? std::string("0123456789abcdef").find(t) != std::string::npos : t == p;
  };
  return std::equal(text.begin(), text.end(), pattern.begin(), pattern.end(), same);
}

TEST_CASE("without --mac each card gets an address of its own") {
  const std::string form = "virtio-net-pci,netdev=lanyard0,mac=52:54:00:??:??:??";
  const std::string one = add_network_card({"/bin/sh"}, {}, "").argv.back();
  const std::string two = add_network_card({"/bin/sh"}, {}, "").argv.back();
  CHECK(fits(one, form));
  CHECK(fits(two, form));
  CHECK(one != two);
}

TEST_CASE("a command that cannot become a guest is refused in one line") {
  const TemporaryDirectory dir;
  for (const char* mac : {"52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:567", "x",
                          "53:54:00:12:34:56", "00:00:00:00:00:00", "52-54-00-12-34-56",
                          "52:54:00:12:34: 5", "52:54:00:12:34:+5", "52:54:00:12:34:56,x=y"}) {
    CAPTURE(mac);
    const std::string line = line_of([&] { add_network_card({"/bin/sh"}, {}, mac); }, EX_USAGE);
    CHECK(line.find(fmt::format("cannot use {} as the guest's MAC address", mac)) == 0);
  }
  CHECK(line_of([] { add_network_card({}, {}, ""); }, EX_USAGE).find("no command after --") !=
        std::string::npos);
  CHECK(line_of(
            [] {
              add_network_card({"/bin/sh", "-daemonize"}, {}, "");
            },
            EX_USAGE)
            .find("remove -daemonize") != std::string::npos);
}

TEST_CASE("programs are found as execvp finds them") {
  const TemporaryDirectory dir;
  const TemporaryDirectory other;
  const std::string tool = other.program("tool", "#!/bin/sh\n");
  dir.program("locked", "#!/bin/sh\n", 0644);
  std::filesystem::create_directory(dir.path / "tool");  // a directory is passed over
  const std::string path = fmt::format("{}:/absent:{}", dir.path.string(), other.path.string());
  CHECK(find_program("tool", path) == tool);
  CHECK(find_program(tool, "") == tool);
  CHECK(line_of([&] { find_program("qemu-system-x86_64", path); }, 127) ==
        "cannot start qemu-system-x86_64: not found in PATH; install it: apt-get install "
        "qemu-system-x86");
  CHECK(line_of([&] { find_program("qemu-system-aarch64", path); }, 127)
            .ends_with("apt-get install qemu-system-arm"));
  CHECK(line_of([&] { find_program("qemu-system-riscv64", path); }, 127)
            .ends_with("apt-get install qemu-system-misc"));
  CHECK(line_of([&] { find_program("locked", path); }, 126) ==
        fmt::format("cannot start {}: Permission denied; make it executable with chmod +x",
                    dir.file("locked")));
  CHECK(line_of([&] { find_program("./absent/x", path); }, 127) ==
        "cannot start ./absent/x: No such file or directory; check the path");
  CHECK(line_of([&] { find_program(dir.path, path); }, 126).find("Is a directory") !=
        std::string::npos);
}

// --- the plug -----------------------------------------------------------------------------------

TEST_CASE("a private plug is a pair of sockets, of which the guest inherits one") {
  PrivatePlug plug = plug_privately();
  REQUIRE(plug.guest.inherited.size() == 1);
  const int guest_fd = plug.guest.inherited[0].get();
  CHECK(plug.guest.netdev == fmt::format("stream,server=off,addr.type=fd,addr.str={}", guest_fd));
  CHECK((::fcntl(plug.ours.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(plug.ours.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(guest_fd, F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("joining a LAN connects to its stream socket, or says what is wrong") {
  const TemporaryDirectory dir;
  const std::string lan = dir.path;
  CHECK(line_of([&] { plug_into_lan(lan + "/no"); }, EX_UNAVAILABLE) ==
        fmt::format("cannot join the LAN at {0}/no: No such file or directory; start it with: "
                    "lanyard switch {0}/no",
                    lan));
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "{}/stream", lan);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(line_of([&] { plug_into_lan(lan); }, EX_UNAVAILABLE).find("Connection refused") !=
        std::string::npos);
  REQUIRE(::listen(listener.get(), 1) == 0);
  const Attachment attachment = plug_into_lan(lan);
  CHECK(Fd(::accept(listener.get(), nullptr, nullptr)).get() >= 0);

  const std::string longest(107 - 7, 'x');  // and "/stream" is 107
  CHECK(line_of([&] { plug_into_lan(longest); }, EX_UNAVAILABLE).find("No such file") !=
        std::string::npos);
  CHECK(line_of([&] { plug_into_lan(longest + "x"); }, EX_USAGE).find("is 108 bytes long") !=
        std::string::npos);
}

}  // namespace
}  // namespace driver
