// Runs a fuzzer's entry point over files, for builds without libFuzzer:
//
//   fuzz_NAME DIRECTORY|FILE…
//
// Each file's name is written before it is run, so that the last one is the one that failed.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/input.h"

namespace {

std::vector<std::filesystem::path> files_of(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int at = 1; at < argc; ++at) {
    if (!std::filesystem::is_directory(argv[at])) {
      files.emplace_back(argv[at]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[at])) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

bool replay(const std::filesystem::path& file) {
  fmt::print("{}\n", file.string());
  std::fflush(stdout);
  std::ifstream in(file, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  if (!in.good() && !in.eof()) return false;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::filesystem::path> files = files_of(argc, argv);
    if (files.empty()) {
      fmt::print(stderr, "cannot replay: no input was given; name a file or a corpus directory\n");
      return 1;
    }
    LLVMFuzzerInitialize(&argc, &argv);
    for (const std::filesystem::path& file : files) {
      if (replay(file)) continue;
      fmt::print(stderr, "cannot replay {}: it cannot be read\n", file.string());
      return 1;
    }
    fmt::print("replayed {} inputs\n", files.size());
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
