#pragma once
#include <stddef.h>

size_t heap_used(void);         // bytes in use, the headers of blocks included
size_t heap_peak(void);         // the most that was in use since heap_begin
void heap_begin(size_t bytes);  // allow so many bytes more than are in use now, and forget the past
int heap_exhausted(void);       // memory was refused since heap_begin, whoever caught that
void heap_exhaust(void);
