//! The allocator of the process: mimalloc for small blocks, the system for large ones.
//!
//! A step of the node has to end in bounded time. glibc's allocator puts the merging of freed blocks off until a large one is freed, and with
//! 100,000 partitions that one step takes tens of milliseconds; mimalloc's work a call is bounded. But mimalloc keeps what was freed for a
//! while, and copies a block that grows: for the frames of strangers both would count twice. The system maps a large block by itself, grows
//! it without a copy and takes it back at once.

use std::alloc::{GlobalAlloc, Layout, System};

use mimalloc::MiMalloc;

/// From this size on, in bytes, a block is the system's.
const LARGE: usize = 1 << 20;

/// See the file's header.
pub struct Allocator;

// SAFETY: each block goes back, with the layout that it was made with, to the allocator that made it: both are told apart by the size of
// the layout alone, and a block that crosses the line is made anew.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe {
            if layout.size() < LARGE {
                MiMalloc.alloc(layout)
            } else {
                System.alloc(layout)
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe {
            if layout.size() < LARGE {
                MiMalloc.alloc_zeroed(layout)
            } else {
                System.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            if layout.size() < LARGE {
                MiMalloc.dealloc(block, layout);
            } else {
                System.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            match (layout.size() < LARGE, size < LARGE) {
                (true, true) => MiMalloc.realloc(block, layout, size),
                (false, false) => System.realloc(block, layout, size),
                _ => {
                    let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        std::ptr::copy_nonoverlapping(block, new, size.min(layout.size()));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}
