#include "driver/qemu_command.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "driver/program.h"
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

// Each '?' of the pattern stands for one lower-case hex digit.
bool fits(const std::string& text, const std::string& pattern) {
  const auto same = [](char t, char p) {
    return p == '?' ? std::string("0123456789abcdef").find(t) != std::string::npos : t == p;
  };
  return std::equal(text.begin(), text.end(), pattern.begin(), pattern.end(), same);
}

TEST_CASE("without --mac each card gets an address of its own") {
  const std::string form = "52:54:00:??:??:??";
  const std::string one = card_mac("");
  const std::string two = card_mac("");
  CHECK(fits(one, form));
  CHECK(fits(two, form));
  CHECK(one != two);
  CHECK(card_mac("52:54:00:AA:bb:01") == "52:54:00:AA:bb:01");
}

TEST_CASE("a command that cannot become a guest is refused in one line") {
  const TemporaryDirectory dir;
  for (const char* mac : {"52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:567", "x",
                          "53:54:00:12:34:56", "00:00:00:00:00:00", "52-54-00-12-34-56",
                          "52:54:00:12:34: 5", "52:54:00:12:34:+5", "52:54:00:12:34:56,x=y"}) {
    CAPTURE(mac);
    const std::string line = line_of([&] { card_mac(mac); }, EX_USAGE);
    CHECK(line.find(fmt::format("cannot use {} as the guest's MAC address", mac)) == 0);
  }
  CHECK(line_of([] { check_guest_command({}); }, EX_USAGE).find("no command after --") !=
        std::string::npos);
  for (const char* word : {"-daemonize", "--daemonize"}) {
    CHECK(line_of(
              [&] {
                check_guest_command({"/bin/sh", word});
              },
              EX_USAGE)
              .find("remove -daemonize") != std::string::npos);
  }
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

TEST_CASE("the next program of a name is another file, whatever it is called") {
  const TemporaryDirectory one;
  const TemporaryDirectory two;
  const TemporaryDirectory three;
  const std::string self = one.program("wrapper", "#!/bin/sh\n");
  std::filesystem::create_symlink(self, one.file("tool"));
  std::filesystem::create_hard_link(self, two.file("tool"));
  const std::string other = three.program("tool", "#!/bin/sh\n");
  const std::string path =
      fmt::format("{}:{}:/absent:{}", one.path.string(), two.path.string(), three.path.string());
  CHECK(find_next_program("tool", path, {}) == one.file("tool"));
  CHECK(find_next_program("tool", path, {file_identity(self)}) == other);
  CHECK(find_next_program("tool", path, {file_identity(self), file_identity(other)}).empty());
  CHECK(file_identity("/absent") == FileIdentity{});
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

TEST_CASE("a private vhost-user plug has a path, and no file") {
  const TemporaryDirectory dir;
  const std::string deep = dir.path / std::string(120, 'x');  // longer than a socket's path
  std::filesystem::create_directory(deep);
  ::setenv("TMPDIR", deep.c_str(), 1);
  const PrivatePlug plug = plug_privately(Transport::kVhostUser);
  ::unsetenv("TMPDIR");
  CHECK(std::filesystem::is_empty(deep));
  CHECK(plug.guest.netdev == "vhost-user");
  const std::string path = fmt::format("/proc/self/fd/{}", plug.guest.inherited.at(0).get());
  CHECK(plug.guest.chardev == "socket,path=" + path);
  struct stat file {};
  REQUIRE(::stat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);

  CHECK(::accept(plug.ours.get(), nullptr, nullptr) == -1);
  CHECK(errno == EAGAIN);
  const Fd client(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  CHECK(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(Fd(::accept(plug.ours.get(), nullptr, nullptr)).get() >= 0);
}

TEST_CASE("a temporary folder that cannot be used is named") {
  ::setenv("TMPDIR", "/absent", 1);
  CHECK(line_of([] { plug_privately(Transport::kVhostUser); }, EX_OSERR) ==
        "cannot make the guest's socket in /absent: No such file or directory; let TMPDIR be a "
        "folder that can be written to");
  ::unsetenv("TMPDIR");
}

TEST_CASE("a plug by name escapes its path and opens nothing") {
  const auto netdev = [](Transport transport) {
    const Attachment attachment = name_plug("/a,b", transport, {});
    CHECK(attachment.inherited.empty());
    return attachment.netdev + " " + attachment.chardev;
  };
  CHECK(netdev(Transport::kVhostUser) == "vhost-user socket,path=/a,,b/vhost-user,reconnect=1");
  CHECK(netdev(Transport::kStream) == "stream,server=off,addr.type=unix,addr.path=/a,,b/stream ");
  CHECK(netdev(Transport::kVde) == "vde,sock=/a,,b ");
}

Attachment plug_into(const std::string& directory) {
  return plug_into_lan(directory, Transport::kStream, {});
}

TEST_CASE("joining a LAN connects to its stream socket, or says what is wrong") {
  const TemporaryDirectory dir;
  const std::string lan = dir.path;
  CHECK(line_of([&] { plug_into(lan + "/no"); }, EX_UNAVAILABLE) ==
        fmt::format("cannot join the LAN at {0}/no: No such file or directory; start it with: "
                    "lanyard switch {0}/no",
                    lan));
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "{}/stream", lan);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(line_of([&] { plug_into(lan); }, EX_UNAVAILABLE).find("Connection refused") !=
        std::string::npos);
  REQUIRE(::listen(listener.get(), 1) == 0);
  CHECK(lan_sockets(lan).stream);
  CHECK(!lan_sockets(lan).vhost_user);
  CHECK(!lan_sockets(lan).vde);
  const Attachment attachment = plug_into(lan);
  CHECK(attachment.inherited.at(0).get() > 2);
  CHECK(Fd(::accept(listener.get(), nullptr, nullptr)).get() >= 0);

  const std::string longest(107 - 7, 'x');  // and "/stream" is 107
  CHECK(line_of([&] { plug_into(longest); }, EX_UNAVAILABLE).find("No such file") !=
        std::string::npos);
  CHECK(line_of([&] { plug_into(longest + "x"); }, EX_USAGE).find("is 108 bytes long") !=
        std::string::npos);
}

}  // namespace
}  // namespace driver
