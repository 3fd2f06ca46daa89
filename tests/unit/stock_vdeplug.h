#pragma once

#include <dlfcn.h>

// The stock VDE client library, for a test that is one translation unit.

extern "C" {  // a C header that does not say so itself
#include <libvdeplug.h>

// libvdeplug 4 opens its modules with RTLD_DEEPBIND, which a sanitizer's runtime refuses because
// the module would get past its malloc. Without that flag the module's names are found in the
// usual order, and since none of ours is named like one of its own that is the same.
// NOLINTNEXTLINE: this takes the place of the C library's function
void* dlopen(const char* file, int mode) noexcept {
  using Open = void* (*)(const char*, int);
  static const auto open = reinterpret_cast<Open>(::dlsym(RTLD_NEXT, "dlopen"));
  return open(file, mode & ~RTLD_DEEPBIND);
}
}
