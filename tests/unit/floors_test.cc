// The house rules that a machine can check: which floor may include which, how files are named and
// how long they get. The rules are plain functions over (path, text), so they are first shown to
// fail on small examples and then held against the tree itself.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr size_t kFileLinesMax = 500;

// A room is a folder whose files may include each other. Rooms of one floor are siblings.
struct Room {
  std::string_view folder;
  int floor;
};

constexpr std::array kRooms{
    Room{"netstack/base", 0},
    Room{"netstack/frame", 1},
    Room{"netstack/wire", 1},
    Room{"netstack/loop", 1},
    Room{"netstack/virtio", 1},
    Room{"netstack/port", 2},
    Room{"netstack/capture", 2},
    Room{"netstack/config", 2},
    Room{"netstack/reachability", 2},
    Room{"netstack/vde", 3},
    Room{"netstack/vhost_user", 3},
    Room{"netstack/flows", 3},
    Room{"vlan", 3},
    Room{"driver", 3},
    Room{"netstack/names", 4},
    Room{"netstack/nat", 4},
    Room{"netstack/forwards", 5},
    Room{"netstack/gateway", 6},
    Room{"tools", 7},
    Room{"bench", 7},
    Room{"tests", 8},  // the top: it tests tools/ too
};

constexpr std::array<std::string_view, 6> kTopFolders{"netstack", "vlan",  "driver",
                                                      "tools",    "bench", "tests"};
constexpr std::array<std::string_view, 9> kForbiddenWords{
    "util", "utils", "common", "misc", "manager", "managers", "helper", "helpers", "utilities"};

struct SourceFile {
  std::string path;  // from the root of the tree
  std::string text;
};

using Problems = std::vector<std::string>;

const Room* room_of(std::string_view path) {
  for (const Room& room : kRooms) {
    if (path.size() > room.folder.size() && path.starts_with(room.folder) &&
        path[room.folder.size()] == '/') {
      return &room;
    }
  }
  return nullptr;
}

struct Include {
  std::string path;
  bool quoted;
};

// The file an `#include` line names; nothing for any other line.
std::optional<Include> include_of(std::string_view line) {
  const auto skip_blanks = [&] {
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  };
  skip_blanks();
  if (!line.starts_with('#')) return std::nullopt;
  line.remove_prefix(1);
  skip_blanks();
  if (!line.starts_with("include")) return std::nullopt;
  line.remove_prefix(std::string_view("include").size());
  skip_blanks();
  if (line.empty() || (line[0] != '"' && line[0] != '<')) return std::nullopt;
  const bool quoted = line[0] == '"';
  const size_t end = line.find(quoted ? '"' : '>', 1);
  if (end == std::string_view::npos) return std::nullopt;
  return Include{std::string(line.substr(1, end - 1)), quoted};
}

std::optional<std::string> judge_include(const Room& from, const Include& include) {
  const Room* to = room_of(include.path);
  if (!include.quoted) {
    return to == nullptr ? std::nullopt
                         : std::optional(fmt::format("<{}> is ours: use quotes", include.path));
  }
  if (to == nullptr || include.path.find("..") != std::string::npos) {
    return fmt::format("\"{}\" does not begin at a folder of the root", include.path);
  }
  if (to->folder == from.folder || to->floor < from.floor) return std::nullopt;
  return fmt::format("\"{}\" is {}: {} may include lower floors only", include.path,
                     to->floor == from.floor ? "a sibling's" : "upstairs", from.folder);
}

Problems judge_includes(const SourceFile& file) {
  const Room* from = room_of(file.path);
  if (from == nullptr) return {fmt::format("{}: this folder has no floor", file.path)};
  Problems problems;
  std::istringstream lines(file.text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::optional<Include> include = include_of(line);
    if (!include) continue;
    if (const auto problem = judge_include(*from, *include)) {
      problems.push_back(fmt::format("{}:{}: {}", file.path, number, *problem));
    }
  }
  return problems;
}

// Words of a path are what stands between '/', '_', '-' and '.'.
Problems judge_name(const SourceFile& file) {
  std::string words = file.path;
  std::ranges::replace_if(
      words, [](char c) { return c == '/' || c == '_' || c == '-' || c == '.'; }, ' ');
  std::istringstream stream(words);
  for (std::string word; stream >> word;) {
    if (std::ranges::find(kForbiddenWords, word) != kForbiddenWords.end()) {
      return {fmt::format("{}: \"{}\" says nothing; name what the file does", file.path, word)};
    }
  }
  return {};
}

Problems judge_length(const SourceFile& file) {
  const auto lines = static_cast<size_t>(std::ranges::count(file.text, '\n'));
  if (lines <= kFileLinesMax) return {};
  return {fmt::format("{}: {} lines, at most {}", file.path, lines, kFileLinesMax)};
}

Problems judge(const SourceFile& file) {
  Problems problems = judge_includes(file);
  for (const Problems& more : {judge_name(file), judge_length(file)}) {
    problems.insert(problems.end(), more.begin(), more.end());
  }
  return problems;
}

// One add_room(FOLDER LIBRARY…) line of CMakeLists.txt: its own libraries are lower floors.
Problems judge_cmake_line(std::string_view line) {
  constexpr std::string_view kCall = "add_room(";
  if (!line.starts_with(kCall)) return {};
  std::string words(line.substr(kCall.size()));
  std::ranges::replace(words, ')', ' ');
  std::istringstream stream(words);
  std::string folder;
  stream >> folder;
  const Room* from = room_of(folder + "/");
  if (from == nullptr) return {fmt::format("CMakeLists.txt: {} has no floor", folder)};
  Problems problems;
  for (std::string library; stream >> library;) {
    std::ranges::replace(library, '_', '/');
    const Room* to = room_of(library + "/");
    if (to == nullptr || to->floor < from->floor) continue;
    problems.push_back(fmt::format("CMakeLists.txt: {} links {}", folder, to->folder));
  }
  return problems;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<SourceFile> sources_below(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  std::vector<SourceFile> sources;
  for (const std::string_view top : kTopFolders) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const fs::path extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".cc" && extension != ".h")) continue;
      sources.push_back({fs::relative(entry.path(), root).string(), read_text(entry.path())});
    }
  }
  std::ranges::sort(sources, {}, &SourceFile::path);
  return sources;
}

struct Example {
  std::string path;
  std::string_view what;  // it includes
};

SourceFile including(const Example& example) {
  return {example.path, fmt::format("#pragma once\n#include {}\n", example.what)};
}

}  // namespace

TEST_CASE("the rule lets lower floors and one's own room be included") {
  for (const Example& e :
       std::vector<Example>{{"netstack/wire/dns.h", "\"netstack/wire/ip_address.h\""},
                            {"netstack/nat/echo.cc", "\"netstack/wire/icmp.h\""},
                            {"netstack/nat/echo.cc", "<sys/socket.h>"},
                            {"vlan/switch.cc", "\"netstack/frame/port.h\""},
                            {"tools/lanyard/main.cc", "\"driver/qemu.h\""},
                            {"tests/unit/a_test.cc", "\"tests/packets/packets.h\""},
                            {"tests/unit/a_test.cc", "\"tools/lan/lan.h\""}}) {
    CHECK_MESSAGE(judge(including(e)).empty(), e.path, " ", e.what);
  }
}

TEST_CASE("the rule finds upward, sibling and relative includes") {
  for (const Example& e :
       std::vector<Example>{{"netstack/base/fd.h", "\"netstack/frame/frame.h\""},
                            {"netstack/wire/udp.cc", "\"netstack/frame/mac.h\""},
                            {"netstack/port/a.cc", "\"netstack/reachability/reason.h\""},
                            {"netstack/names/a.cc", "\"netstack/nat/echo.h\""},
                            {"netstack/frame/a.cc", "\"vlan/switch.h\""},
                            {"driver/a.cc", "\"vlan/switch.h\""},
                            {"vlan/a.cc", "\"tools/lanyard/a.h\""},
                            {"bench/a.cc", "\"tests/packets/packets.h\""},
                            {"tools/lan/a.cc", "\"tests/packets/packets.h\""},
                            {"bench/a.cc", "\"tools/lan/lan.h\""},
                            {"netstack/wire/udp.cc", "\"udp.h\""},
                            {"netstack/wire/udp.cc", "\"../base/check.h\""},
                            {"vlan/a.cc", "\"netstack/base/../port/vde.h\""},
                            {"vlan/a.cc", "<netstack/base/check.h>"},
                            {"elsewhere/a.cc", "<vector>"}}) {
    CHECK_MESSAGE(judge(including(e)).size() == 1, e.path, " ", e.what);
  }
  CHECK(judge({"vlan/a.cc", "  #  include  \"tools/x.h\"  // spaced\n"}).size() == 1);
  CHECK(judge({"vlan/a.cc", "// #include \"tools/x.h\"\n"}).empty());
}

TEST_CASE("the rule finds names that say nothing") {
  for (const std::string path : {"vlan/util.cc", "vlan/port_manager.h", "tools/common/main.cc",
                                 "netstack/base/string-helpers.h", "tests/misc/a.cc"}) {
    CHECK_MESSAGE(judge({path, ""}).size() == 1, path);
  }
  CHECK(judge({"vlan/commonplace.cc", ""}).empty());
}

TEST_CASE("the rule finds files that are too long") {
  CHECK(judge({"vlan/a.cc", std::string(kFileLinesMax, '\n')}).empty());
  CHECK(judge({"vlan/a.cc", std::string(kFileLinesMax + 1, '\n')}).size() == 1);
}

TEST_CASE("the rule reads CMakeLists.txt") {
  CHECK(judge_cmake_line("add_room(netstack/wire     netstack_base)").empty());
  CHECK(judge_cmake_line("add_room(netstack/port netstack_frame PkgConfig::slirp)").empty());
  CHECK(judge_cmake_line("add_room(netstack/wire netstack_frame)").size() == 1);
  CHECK(judge_cmake_line("add_room(netstack/loop vlan netstack_port)").size() == 2);
  CHECK(judge_cmake_line("add_room(netstack/attic netstack_base)").size() == 1);
}

TEST_CASE("every source file of the tree keeps the rules") {
  const std::vector<SourceFile> sources = sources_below(LANYARD_SOURCE_DIR);
  REQUIRE(sources.size() > 40);  // reading an empty tree proves nothing
  for (const SourceFile& file : sources) {
    for (const std::string& problem : judge(file)) FAIL_CHECK(problem);
  }
}

TEST_CASE("every included file of ours exists") {
  const std::filesystem::path root = LANYARD_SOURCE_DIR;
  for (const SourceFile& file : sources_below(root)) {
    std::istringstream lines(file.text);
    for (std::string line; std::getline(lines, line);) {
      const std::optional<Include> include = include_of(line);
      if (!include || !include->quoted) continue;
      CHECK_MESSAGE(std::filesystem::exists(root / include->path), file.path, ": ", include->path);
    }
  }
}

TEST_CASE("the libraries of CMakeLists.txt link downward only") {
  std::istringstream lines(read_text(std::filesystem::path(LANYARD_SOURCE_DIR) / "CMakeLists.txt"));
  size_t room_count = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("add_room(")) ++room_count;
    for (const std::string& problem : judge_cmake_line(line)) FAIL_CHECK(problem);
  }
  CHECK(room_count >= 14);
}
