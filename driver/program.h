#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace driver {

// Where `name` is, as execvp(3) would look: as a path if it holds a slash, else in `search_path`
// (the value of PATH). Throws netstack::Error.
std::string find_program(const std::string& name, const std::string& search_path);

// A file, by whatever name it is reached.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};
FileIdentity file_identity(const std::string& path);  // all zero: no such file

// The first one in `search_path` that is none of `passed_over`: a program that stands in for
// another of the same name finds the other so. Empty: there is none.
std::string find_next_program(const std::string& name, const std::string& search_path,
                              const std::vector<FileIdentity>& passed_over);

}  // namespace driver
