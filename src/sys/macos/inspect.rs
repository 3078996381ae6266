//! What macOS does not tell an ordinary process about another: limits, kernel stacks, system calls, pressure.

pub(in super::super) fn open_files_limit(_pid: i32) -> Option<u64> {
    None
}

pub(in super::super) fn system_call_name(_number: i64) -> Option<&'static str> {
    None
}

pub(in super::super) fn cgroup(_pid: i32) -> Option<String> {
    None
}

pub(in super::super) fn kernel_stack(_pid: i32, _tid: i32, _max: usize) -> Vec<String> {
    Vec::new()
}

pub(in super::super) fn pressure() -> Vec<(&'static str, String)> {
    Vec::new()
}
