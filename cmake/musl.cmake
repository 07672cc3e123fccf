# Debian's musl-gcc (package musl-tools). It hides all of glibc's headers and with them the kernel's, which musl does not
# bring: those three directories, and nothing else of /usr/include, are put behind musl's own.
set(CMAKE_C_COMPILER musl-gcc)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(kernel "${CMAKE_BINARY_DIR}/kernel-headers")
execute_process(COMMAND gcc -print-multiarch OUTPUT_VARIABLE multiarch OUTPUT_STRIP_TRAILING_WHITESPACE)
file(MAKE_DIRECTORY "${kernel}")
foreach(pair linux:/usr/include/linux asm-generic:/usr/include/asm-generic asm:/usr/include/${multiarch}/asm)
    string(REPLACE ":" ";" pair "${pair}")
    list(GET pair 0 name)
    list(GET pair 1 target)
    file(CREATE_LINK "${target}" "${kernel}/${name}" SYMBOLIC)
endforeach()
set(CMAKE_C_FLAGS_INIT "-idirafter ${kernel}")
