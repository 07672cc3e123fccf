# What may be left out: an option for each part, and the decision.

# casyncio_option(PART WHAT NEEDS): the option CASYNCIO_<PART>.
function(casyncio_option part what needs)
    string(TOUPPER ${part} PART)
    set(CASYNCIO_${PART} AUTO CACHE STRING "${what}: ON, OFF or AUTO (if ${needs})")
    set_property(CACHE CASYNCIO_${PART} PROPERTY STRINGS AUTO ON OFF)
endfunction()

# casyncio_decide(PART FOUND WITH WITHOUT): sets CASYNCIO_HAVE_<PART>, and <part>_because: `WITH`, or why not: the option, or
# `WITHOUT`, which is an error if the option is ON.
function(casyncio_decide part found with without)
    string(TOUPPER ${part} PART)
    set(have OFF)
    if(NOT CASYNCIO_${PART})
        set(because "CASYNCIO_${PART}=${CASYNCIO_${PART}}")
    elseif(found)
        set(have ON)
        set(because "${with}")
    elseif(CASYNCIO_${PART} STREQUAL "AUTO")
        set(because "${without}")
    else()
        message(FATAL_ERROR "CASYNCIO_${PART}=${CASYNCIO_${PART}}, but ${without}")
    endif()
    set(CASYNCIO_HAVE_${PART} ${have} PARENT_SCOPE)
    set(${part}_because "${because}" PARENT_SCOPE)
endfunction()
