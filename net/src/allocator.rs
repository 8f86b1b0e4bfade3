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

/// See the file's header. A binary makes it its own with `#[global_allocator]`.
pub struct Allocator;

/// Keeps this process to small pages: the kernel clears a huge page whole when it is first touched, and the step that does so takes
/// milliseconds. Where the kernel refuses, nothing but that is lost.
pub fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE
}

// SAFETY: a block goes back to the allocator that made it, with the layout that it was made with, for the size in the layout alone tells
// which one that is; a block that crosses the line is made anew. All else is as both allocators promise.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        unsafe {
            if is_large(layout) {
                System.alloc(layout)
            } else {
                MiMalloc.alloc(layout)
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        unsafe {
            if is_large(layout) {
                System.alloc_zeroed(layout)
            } else {
                MiMalloc.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on; this layout made the block.
        unsafe {
            if is_large(layout) {
                System.dealloc(block, layout);
            } else {
                MiMalloc.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a layout of this size and alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's promise, handed on where one allocator has both blocks. Elsewhere the new block is another one, and as much
        // is copied as both have.
        unsafe {
            match (is_large(layout), is_large(wanted)) {
                (true, true) => System.realloc(block, layout, size),
                (false, false) => MiMalloc.realloc(block, layout, size),
                _ => {
                    let new = self.alloc(wanted);
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
