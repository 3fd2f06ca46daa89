#include "netstack/port/lan_directory.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "netstack/base/error.h"
#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

// The line an Error would show; empty when there was none.
template <typename Act>
std::string error_of(Act act) {
  try {
    act();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return {};
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Leaves a socket file that no process has open.
void leave_dead(const std::string& path, int type) {
  const Fd fd(::socket(AF_UNIX, type, 0));
  const sockaddr_un address = unix_address(path);
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

void touch(const std::string& path) {
  std::ofstream(path) << "x";
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

constexpr LanDirectoryRules kOwn{.mode = 0700, .own = true};

// Runs `act` as a user whom file modes hold back, in a process of its own. True: it says so.
template <typename Act>
bool as_nobody(Act act) {
  constexpr uid_t kNobody = 65534;
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) ::_exit(1);
    ::_exit(act() ? 0 : 1);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

TEST_CASE(
    "a listener is reachable as soon as its file is there, with its mode, and takes it along") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("ctl");
  {
    const UnixListener listener = listen_unix(path, 0620);
    CHECK(files_in(directory.path) == std::vector<std::string>{"ctl"});
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0620);
    CHECK(connect_unix(path));
  }
  CHECK(files_in(directory.path).empty());
  CHECK(has(error_of([&] { connect_unix(path); }), "No such file"));
}

TEST_CASE("a dead socket is replaced, a live one and other files are not") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("ctl");
  leave_dead(path, SOCK_STREAM);
  CHECK(has(error_of([&] { connect_unix(path); }), "Connection refused"));
  CHECK(has(error_of([&] { connect_unix(path); }), "is the switch running?"));
  {
    const UnixListener first = listen_unix(path);
    CHECK(connect_unix(path));
    CHECK(has(error_of([&] { listen_unix(path); }),
              "is in use by a running switch; stop it or choose another directory"));
    CHECK(connect_unix(path));
  }
  touch(path);
  CHECK(has(error_of([&] { listen_unix(path); }), "no socket"));
  CHECK(files_in(directory.path) == std::vector<std::string>{"ctl"});
}

TEST_CASE("a file that took a listener's place is left alone") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("ctl");
  {
    const UnixListener listener = listen_unix(path);
    ::unlink(path.c_str());
    touch(path);
  }
  CHECK(files_in(directory.path) == std::vector<std::string>{"ctl"});
}

TEST_CASE("a path of 107 bytes is used, one of 108 is an error that says so") {
  const TemporaryDirectory directory;
  const std::string longest = directory.file(std::string(106 - directory.path.size(), 'x'));
  REQUIRE(longest.size() == kSocketPathMax_size);
  CHECK(listen_unix(longest).fd);
  const std::string deep = directory.file(std::string(104 - directory.path.size(), 'x'));
  REQUIRE(::mkdir(deep.c_str(), 0700) == 0);
  {
    const auto listener = listen_unix(deep + "/m");  // no room beside it for another name
    CHECK((deep + "/m").size() == kSocketPathMax_size);
    CHECK(files_in(deep) == std::vector<std::string>{"m"});
    CHECK(connect_unix(deep + "/m"));
  }
  CHECK(files_in(deep).empty());
  const std::string line = error_of([&] { listen_unix(longest + "x"); });
  CHECK(has(line, "108 bytes"));
  CHECK(has(line, "107"));
  CHECK(has(line, "choose a shorter"));
  CHECK(has(error_of([&] { connect_unix(longest + "x"); }), "108 bytes"));
}

TEST_CASE("a LAN directory is made with its mode and removed with what is dead in it") {
  const TemporaryDirectory parent;
  {
    const LanDirectory lan(parent.file("lan") + "/");
    CHECK(lan.path() == parent.file("lan"));
    CHECK(lan.file("ctl") == parent.file("lan/ctl"));
    struct stat status {};
    REQUIRE(::stat(lan.path().c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0700);
    leave_dead(lan.file(".00123-00000"), SOCK_DGRAM);
    leave_dead(lan.file("001.6"), SOCK_DGRAM);
  }
  CHECK(files_in(parent.path).empty());
  { const LanDirectory lan(parent.file("lan"), 0750); }
  CHECK(files_in(parent.path).empty());
}

// libvdeplug's own socket stands in the directory for as long as its client lives.
TEST_CASE("a directory that was made goes with the sockets of clients that live on") {
  const TemporaryDirectory parent;
  const Fd alive(::socket(AF_UNIX, SOCK_DGRAM, 0));
  SocketFile alive_file;
  const auto leave_alive = [&](const LanDirectory& lan) {
    REQUIRE(bind_datagram(alive.get(), lan.file(".00123-00000"), 0700, alive_file) == 0);
  };
  SUBCASE("made") {
    leave_alive(LanDirectory(parent.file("lan")));
    CHECK(files_in(parent.path).empty());
  }
  SUBCASE("it was there") {
    REQUIRE(::mkdir(parent.file("lan").c_str(), 0700) == 0);
    leave_alive(LanDirectory(parent.file("lan")));
    CHECK(files_in(parent.file("lan")) == std::vector<std::string>{".00123-00000"});
  }
}

TEST_CASE("whatever is no socket of a LAN stays") {
  const TemporaryDirectory parent;
  const std::vector<std::string> kept{".hidden", "002.7", "notes", "other"};
  {
    const LanDirectory lan(parent.file("lan"));
    touch(lan.file("002.7"));  // named like a socket, but a file
    touch(lan.file(".hidden"));
    touch(lan.file("notes"));
    leave_dead(lan.file("other"), SOCK_DGRAM);  // a dead socket, but nobody's we know
  }
  CHECK(files_in(parent.file("lan")) == kept);
}

TEST_CASE("a directory that was there is used and kept, less the dead sockets") {
  const TemporaryDirectory directory;
  leave_dead(directory.file("003.9"), SOCK_DGRAM);
  leave_dead(directory.file("000.4242"), SOCK_STREAM);  // of a switch killed while it started
  {
    const LanDirectory lan(directory.path);
    CHECK(files_in(directory.path).empty());
  }
  CHECK(files_in(directory.path).empty());
}

TEST_CASE("one switch at a time, and a killed one does not count") {
  const TemporaryDirectory directory;
  int started[2];
  REQUIRE(::pipe(started) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const LanDirectory lan(directory.path);
    const UnixListener ctl = listen_unix(lan.file("ctl"));
    if (::write(started[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  REQUIRE(::read(started[0], &byte, 1) == 1);
  CHECK(has(error_of([&] { LanDirectory{directory.path}; }), "in use by a running switch"));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(files_in(directory.path) == std::vector<std::string>{"ctl"});
  {
    const LanDirectory lan(directory.path);
    const UnixListener ctl = listen_unix(lan.file("ctl"));
    CHECK(connect_unix(lan.file("ctl")));
  }
  CHECK(files_in(directory.path).empty());
  ::close(started[0]);
  ::close(started[1]);
}

// Stock switches do not lock their directory.
TEST_CASE("the directory of a live switch that does not lock it stays as it is") {
  const TemporaryDirectory parent;
  const std::string directory = parent.file("lan");
  REQUIRE(::mkdir(directory.c_str(), 0) == 0);
  REQUIRE(::chmod(directory.c_str(), 02770) == 0);
  {
    const UnixListener victim = listen_unix(directory + "/ctl");
    leave_dead(directory + "/001.6", SOCK_DGRAM);
    CHECK(has(error_of([&] { LanDirectory(directory, kOwn); }), "in use by a running switch"));
    CHECK(mode_of(directory) == 02770);
    CHECK(files_in(directory) == std::vector<std::string>{"001.6", "ctl"});
  }
  touch(directory + "/ctl");
  CHECK(has(error_of([&] { LanDirectory(directory, kOwn); }), "its ctl is no socket"));
  CHECK(mode_of(directory) == 02770);
  ::unlink((directory + "/ctl").c_str());
  leave_dead(directory + "/ctl", SOCK_STREAM);
  {
    const LanDirectory lan(directory, kOwn);
    CHECK(mode_of(directory) == 0700);
    CHECK(files_in(directory) == std::vector<std::string>{"ctl"});
    ::unlink((directory + "/ctl").c_str());
  }
  CHECK(files_in(parent.path).empty());
}

TEST_CASE("at the end of a directory of our own dead sockets go that we may not connect to") {
  const TemporaryDirectory parent;
  REQUIRE(::chmod(parent.path.c_str(), 0777) == 0);
  CHECK(as_nobody([&] {
    const LanDirectory lan(parent.file("lan"), kOwn);
    leave_dead(lan.file(".00123-00000"), SOCK_DGRAM);
    ::chmod(lan.file(".00123-00000").c_str(), 0);
    return probe_socket(lan.file(".00123-00000"), SOCK_DGRAM) == SocketState::kForeign;
  }));
  CHECK(files_in(parent.path).empty());
}

TEST_CASE("a directory that took the place of ours is left alone") {
  const TemporaryDirectory parent;
  auto first = std::make_unique<LanDirectory>(parent.file("lan"), kOwn);
  std::filesystem::remove_all(first->path());
  {
    const LanDirectory second(parent.file("lan"), kOwn);
    leave_dead(second.file("001.6"), SOCK_DGRAM);
    first.reset();
    CHECK(files_in(second.path()) == std::vector<std::string>{"001.6"});
  }
  CHECK(files_in(parent.path).empty());
}

TEST_CASE("a directory that comes and goes while we enter it is entered all the same") {
  const TemporaryDirectory parent;
  const std::string path = parent.file("lan");
  std::atomic<bool> done = false;
  std::thread others([&] {
    for (unsigned pause_us = 0; !done; pause_us = (pause_us + 37) % 1000) {
      ::mkdir(path.c_str(), 0700);
      ::rmdir(path.c_str());
      ::usleep(pause_us);  // a look in peace has to be possible, whatever the rhythm of both
    }
  });
  std::string error;
  for (int turn = 0; turn < 300 && error.empty(); ++turn) {
    error = error_of([&] { LanDirectory(path, kOwn); });
  }
  done = true;
  others.join();
  CHECK(error == "");
}

TEST_CASE("what is no directory keeps its mode") {
  const TemporaryDirectory parent;
  touch(parent.file("file"));
  REQUIRE(::chmod(parent.file("file").c_str(), 0642) == 0);
  CHECK(has(error_of([&] { LanDirectory(parent.file("file"), kOwn); }), "Not a directory"));
  CHECK(mode_of(parent.file("file")) == 0642);
  REQUIRE(::mkfifo(parent.file("fifo").c_str(), 0600) == 0);
  REQUIRE(::chmod(parent.file("fifo").c_str(), 0642) == 0);
  CHECK(has(error_of([&] { LanDirectory(parent.file("fifo"), kOwn); }), "Not a directory"));
  CHECK(mode_of(parent.file("fifo")) == 0642);
}

TEST_CASE("unusable directories are one line, and nothing is left") {
  const TemporaryDirectory parent;
  touch(parent.file("file"));
  CHECK(has(error_of([&] { LanDirectory{parent.file("file")}; }), "Not a directory"));
  CHECK(has(error_of([&] { LanDirectory{parent.file("file/lan")}; }), "Not a directory"));
  CHECK(has(error_of([&] { LanDirectory{parent.file("absent/lan")}; }),
            "make its parent directory first"));
  CHECK(has(error_of([&] { LanDirectory{"/proc/lan"}; }), "cannot make directory /proc/lan"));
  CHECK(has(error_of([&] { LanDirectory{""}; }), "no name"));

  const std::string longest =
      parent.file(std::string(kLanDirectoryMax_size - parent.path.size() - 1, 'x'));
  { const LanDirectory lan(longest); }
  const std::string line = error_of([&] { LanDirectory{longest + "x"}; });
  CHECK(has(line, "takes 95 bytes and 94 are possible"));
  CHECK(files_in(parent.path) == std::vector<std::string>{"file"});
}
