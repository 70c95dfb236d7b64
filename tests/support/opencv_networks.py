"""Networks of OpenCV's detectors with the inputs and outputs of the public ones, made on the spot.

They take a blue square for a sign of a face that lies beside it, at a place that is known.
"""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.compat.proto.graph_pb2 import GraphDef

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")

BLUE = np.array([1, -1, -1], np.float32) / 255
"""Weights of B, G and R: 1 for pure blue, much less for anything that is in the pictures."""
SIDE_PX = 24
"""Of the blue square: it covers some cell of either network wholly, wherever it lies."""
FACE_AWAY_PX = (90, 30)
"""From the middle of the square to that of the portrait's face, in the drawn videos."""
FACE_PX = (44, 58)
POINTS = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.25], [0.15, 0.25]], np.float32)
"""Landmarks of a face, from its middle, in its widths and heights."""
PRIOR_PX = 60


def yunet_bytes(*, size=(640, 640), without: str = "", values: int = 10, rows: int = -1) -> bytes:
    """YuNet's inputs and outputs, as the zoo's file has them: a fixed size, which OpenCV overrides.

    Its cells of 8 pixels find blue squares; those of 16 and 32 find nothing.
    """
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    nodes, tensors, outputs = [], [], []
    offsets = (np.array(FACE_AWAY_PX) / 8 + POINTS * FACE_PX / 8 + 0.5).ravel()
    box = [*(np.array(FACE_AWAY_PX) / 8 + 0.5), *np.log(np.array(FACE_PX) / 8)]
    for stride in (8, 16, 32):
        for name, count in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", values)):
            full = f"{name}_{stride}"
            weights, bias = np.zeros((count, 3, stride, stride), np.float32), np.zeros(count, np.float32)
            if name in ("cls", "obj"):
                weights[:] = 20 / stride**2 * BLUE[:, None, None]
                bias[:] = -14 if stride == 8 else -99
            elif name == "bbox":
                bias[:] = box
            else:
                bias[:] = offsets[:count]
            tensors += [array(weights, f"{full}_w"), array(bias, f"{full}_b")]
            tensors.append(array(np.array([1, rows, count], np.int64), f"{full}_shape"))
            conv = [f"{full}_w", f"{full}_b"]
            nodes.append(helper.make_node("Conv", ["input", *conv], [f"{full}_c"], strides=[stride, stride]))
            nodes.append(helper.make_node("Transpose", [f"{full}_c"], [f"{full}_t"], perm=[0, 2, 3, 1]))
            last = [f"{full}_r"] if count == 1 else [full]
            nodes.append(helper.make_node("Reshape", [f"{full}_t", f"{full}_shape"], last))
            if count == 1:
                nodes.append(helper.make_node("Sigmoid", last, [full]))
            if full != without:
                shape = [1, size[0] * size[1] // stride**2, count]
                outputs.append(helper.make_tensor_value_info(full, onnx.TensorProto.FLOAT, shape))
    picture = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, *size])
    graph = helper.make_graph(nodes, "yunet", [picture], outputs, tensors)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8
    ).SerializeToString()


def ssd_graph(*, video_size) -> GraphDef:
    """OpenCV's detector: two branches, prior boxes of one size and the layer that puts them together."""
    graph = GraphDef()

    def add(name, op, inputs=(), **attributes):
        node = graph.node.add(name=name, op=op, input=list(inputs))
        for key, value in attributes.items():
            slot = node.attr[key]
            if isinstance(value, np.ndarray):
                slot.tensor.dtype = {"f": 1, "i": 3}[value.dtype.kind]
                for size in value.shape:
                    slot.tensor.tensor_shape.dim.add(size=size)
                slot.tensor.tensor_content = value.tobytes()
            elif isinstance(value, list):
                slot.list.i.extend(value)
            elif key in ("dtype", "T"):
                slot.type = value
            else:
                kinds = {bool: "b", int: "i", float: "f", bytes: "s"}
                setattr(slot, kinds[type(value)], value)

    add("data", "Placeholder", dtype=1)
    squeeze = 300 / np.array(video_size)
    size = FACE_PX * squeeze
    away = FACE_AWAY_PX * squeeze / PRIOR_PX / 0.1
    for name, bias in (
        ("conf", [0, 20 * (127 + 69) / -255 - 14]),
        ("loc", [*away, *(np.log(size / 60) / 0.2)]),
    ):
        weights = np.zeros((10, 10, 3, len(bias)), np.float32)
        if name == "conf":
            # What OpenCV takes off as the mean of B, G and R is given back by the bias.
            weights[..., 1] = 20 / 100 * BLUE
        add(f"{name}_w", "Const", dtype=1, value=weights)
        add(f"{name}_b", "Const", dtype=1, value=np.array(bias, np.float32))
        how = {"strides": [1, 10, 10, 1], "padding": b"VALID", "data_format": b"NHWC"}
        add(f"{name}_c", "Conv2D", ["data", f"{name}_w"], T=1, **how)
        add(name, "BiasAdd", [f"{name}_c", f"{name}_b"], T=1, data_format=b"NHWC")
    add("mbox_loc", "Flatten", ["loc"])
    add("shape", "Const", dtype=3, value=np.array([0, -1, 2], np.int32))
    add("reshaped", "Reshape", ["conf", "shape"])
    add("softmax", "Softmax", ["reshaped"], axis=2)
    add("mbox_conf", "Flatten", ["softmax"])
    add(
        "priorbox",
        "PriorBox",
        ["loc", "data"],
        min_size=PRIOR_PX,
        flip=True,
        clip=False,
        step=10.0,
        offset=0.5,
    )
    variance = graph.node[-1].attr["variance"].tensor
    variance.dtype = 1
    variance.tensor_shape.dim.add(size=4)
    variance.float_val.extend([0.1, 0.1, 0.2, 0.2])
    add(
        "detection_out",
        "DetectionOutput",
        ["mbox_loc", "mbox_conf", "priorbox"],
        num_classes=2,
        share_location=True,
        background_label_id=0,
        nms_threshold=0.45,
        top_k=400,
        code_type=b"CENTER_SIZE",
        keep_top_k=200,
        confidence_threshold=0.01,
        clip=False,
    )
    return graph


def write_ssd(folder: Path, video_size=(320, 240)) -> str:
    """Write weights and text as OpenCV has them; return them as the flag names them."""
    graph = ssd_graph(video_size=video_size)
    (folder / "faces.pb").write_bytes(graph.SerializeToString())
    text = GraphDef(node=[node for node in graph.node if node.op != "Const"])
    (folder / "faces.pbtxt").write_text(text_format.MessageToString(text))
    return f"ssd:{folder / 'faces.pb'},{folder / 'faces.pbtxt'}"
