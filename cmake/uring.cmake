# The back end io_uring, by liburing (2.3 or later): CASYNCIO_HAVE_URING, uring_library, uring_define. Without it the library needs
# nothing but libc. It is named as a plain -luring: a program that links the static library needs no other module to find it.
set(uring_library "")
set(uring_define "")
set(uring_private "")
if(PKG_CONFIG_FOUND)
    pkg_check_modules(URING QUIET liburing>=2.3)
endif()
# pkg-config answers for this machine; the compiler may be for another one, or another libc.
if(URING_FOUND)
    include(CheckCSourceCompiles)
    set(CMAKE_REQUIRED_LIBRARIES uring)
    check_c_source_compiles("#include <liburing.h>
        int main(void) { struct io_uring ring; return io_uring_submit_and_get_events(&ring); }" CASYNCIO_URING_LINKS)
    unset(CMAKE_REQUIRED_LIBRARIES)
endif()
casyncio_decide(uring "${CASYNCIO_URING_LINKS}" "liburing ${URING_VERSION}" "liburing 2.3 was not found (Debian: liburing-dev, pkg-config)")
if(CASYNCIO_HAVE_URING)
    set(uring_library uring)
    set(uring_define ASYNC_URING=1)
    set(uring_private " -luring")
endif()
