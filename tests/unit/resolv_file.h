#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "netstack/base/fd.h"

namespace tests {

// A resolv.conf of the test's own, gone with the object.
class ResolvFile {
 public:
  explicit ResolvFile(const std::string& text) {
    std::string name = "/tmp/lanyard-resolv-XXXXXX";
    const netstack::Fd file(::mkstemp(name.data()));
    REQUIRE(file);
    path = name;
    write(text);
  }
  ~ResolvFile() { ::unlink(path.c_str()); }
  void write(const std::string& text) const { std::ofstream(path) << text; }

  std::string path;
};

}  // namespace tests
